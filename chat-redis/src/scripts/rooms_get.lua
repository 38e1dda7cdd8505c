-- Looks at rooms.
-- KEYS: rooms.
-- Result: for each room kind, name, limit, created at, state, last activity and the members with each role.
-- Atomic: all of them at one instant.
local found = {}
for nth, room in ipairs(KEYS) do
  found[nth] = redis.call('HMGET', room, '\1k', '\1n', '\1m', '\1c', '\1s', '\1a', '\1r0', '\1r1', '\1r2')
end
return found
