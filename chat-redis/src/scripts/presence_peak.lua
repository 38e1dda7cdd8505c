-- Raises the most users that were online at once.
--
-- Keys: the peak. Arguments: how many, and when in ms.
-- Result: {the most, and when}. Atomic, and repeats harmlessly: it is a maximum.
local most, at = unpack(redis.call('HMGET', KEYS[1], 'users', 'at'))
most, at = tonumber(most) or 0, tonumber(at) or 0
if tonumber(ARGV[2]) > most then
  most, at = tonumber(ARGV[2]), tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], 'users', ARGV[2], 'at', ARGV[3])
end
return {most, at}
