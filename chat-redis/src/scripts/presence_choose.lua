-- Chooses a status, or none.
--
-- Keys: the shard's index, the answer, the user's record. Arguments: user, status or nothing, until when in ms or nothing.
-- Result: 1. Atomic. Repeated with the same key for its answer it undoes no later choice.
local user, chosen, chosen_until = ARGV[2], ARGV[3], ARGV[4]
if answered() then return 1 end
chosen, chosen_until = chosen ~= '' and chosen, chosen_until ~= '' and chosen_until
if is_over(chosen, chosen_until) then chosen = false end

local record = KEYS[3]
local before, idle, visibility = unpack(redis.call('HMGET', record, 'chosen', 'idle', 'visibility'))
redis.call('HDEL', record, 'chosen', 'until')
if chosen then redis.call('HSET', record, 'chosen', chosen) end
if chosen and chosen_until then redis.call('HSET', record, 'until', chosen_until) end
if redis.call('ZSCORE', index, user) then
  recount(counted(before, idle), counted(chosen, idle))
  if chosen and chosen_until then redis.call('ZADD', index, 'LT', chosen_until, user) end
else
  retain(record, chosen, chosen_until, visibility)
end
remember(1)
return 1
