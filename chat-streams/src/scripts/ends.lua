-- Where the newest entry stands; makes the stream, so that what stands behind nothing is a place in this life of it.
-- Result: the life; the id of the newest entry there ever was.
-- Atomic.
local name = make()
return {name, named(redis.call('XINFO', 'STREAM', stream))['last-generated-id']}
