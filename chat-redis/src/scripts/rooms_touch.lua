-- Records activity now.
-- KEYS: active, idle, rooms. ARGV: the rooms' ids.
-- Result: nothing. Atomic: all of them.
for nth = 3, #KEYS do
  local is = redis.call('HMGET', KEYS[nth], '\1s', '\1a')
  if is[1] then wake(ARGV[nth - 1], KEYS[nth], KEYS[1], KEYS[2], is[1], is[2]) end
end
return 0
