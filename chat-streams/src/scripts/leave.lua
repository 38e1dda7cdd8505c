-- Forgets a group and everything it has here, but for its dead letters.
-- ARGV from 3: the group.
-- Result: whether it was there.
-- Atomic.
local g = open(ARGV[3])
forget(g)
redis.call('DEL', g.kept, g.wake)
redis.call('SREM', beside .. 'groups', g.name)
if redis.call('EXISTS', stream) == 0 then return 0 end
return redis.call('XGROUP', 'DESTROY', stream, g.name)
