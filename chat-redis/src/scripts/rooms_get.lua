-- Looks at rooms.
-- KEYS[1] shard; ARGV: rooms.
-- Result: for each room kind, name, limit, created at, state, last activity and the members with each role.
-- Atomic: all rooms of the shard at one instant.
local found = {}
for at = 2, #ARGV do
  found[at - 1] = redis.call('HMGET', key('h', ARGV[at]), '\1k', '\1n', '\1m', '\1c', '\1s', '\1a', '\1r0', '\1r1', '\1r2')
end
return found
