-- Records activity now.
-- KEYS[1] shard; ARGV: rooms.
-- Result: nothing. Atomic: all rooms of the shard.
for at = 2, #ARGV do
  local id, room = ARGV[at], key('h', ARGV[at])
  local is = redis.call('HMGET', room, '\1s', '\1a')
  if is[1] then wake(id, room, is[1], is[2]) end
end
return 0
