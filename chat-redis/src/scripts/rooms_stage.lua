-- Puts some of many first members where rooms_create finds them.
-- KEYS: staged room, staged order. ARGV: for each member user, role, version.
-- Result: how many are staged.
-- Atomic, and seen by nobody. What is not used within ten minutes goes by itself.
local since, seats, places = string.format('%.0f', now), {}, {}
for at = 2, #ARGV, 3 do
  seats[#seats + 1] = ARGV[at]
  seats[#seats + 1] = ARGV[at + 1] .. ' ' .. ARGV[at + 2] .. ' ' .. since
  places[#places + 1] = 0
  places[#places + 1] = ARGV[at]
end
redis.call('HSET', KEYS[1], unpack(seats))
redis.call('ZADD', KEYS[2], unpack(places))
redis.call('PEXPIRE', KEYS[1], 600000)
redis.call('PEXPIRE', KEYS[2], 600000)
return redis.call('ZCARD', KEYS[2])
