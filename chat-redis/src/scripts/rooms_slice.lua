-- Some members of a room and what the room was when it had them.
-- KEYS[1] shard; ARGV: room, where to begin for ZRANGEBYLEX, how many.
-- Result: nil without the room, else its life and revision, and the users. Atomic.
local is = redis.call('HMGET', key('h', ARGV[2]), '\1i', '\1v')
if not is[1] then return false end
return { is[1] .. ' ' .. is[2], redis.call('ZRANGEBYLEX', key('o', ARGV[2]), ARGV[3], '+', 'LIMIT', 0, ARGV[4]) }
