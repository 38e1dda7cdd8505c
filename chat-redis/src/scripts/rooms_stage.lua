-- Puts some of many first members where rooms_create finds them.
-- KEYS[1] shard; ARGV: operation of the creation, then for each member user, role, version.
-- Result: how many are staged. Atomic, and seen by nobody; what is not used within ten minutes goes by itself.
local stage = shard .. ':n:' .. ARGV[2]
local seats, places = {}, {}
for at = 3, #ARGV, 3 do
  seats[#seats + 1] = ARGV[at]
  seats[#seats + 1] = ARGV[at + 1] .. ' ' .. ARGV[at + 2] .. ' ' .. string.format('%.0f', now)
  places[#places + 1] = 0
  places[#places + 1] = ARGV[at]
end
redis.call('HSET', stage .. ':h', unpack(seats))
redis.call('ZADD', stage .. ':o', unpack(places))
redis.call('PEXPIRE', stage .. ':h', 600000)
redis.call('PEXPIRE', stage .. ':o', 600000)
return redis.call('ZCARD', stage .. ':o')
