-- Registers a group and a member of it.
-- ARGV from 3: the group; the member; nothing; '$' to begin with what comes, '0' with what is there.
-- Result: 1.
-- Atomic. Repeated: nothing changes.
local g = open(ARGV[3])
life()
register(g, ARGV[6])
redis.call('ZADD', g.busy, 'NX', now, ARGV[4])
return 1
