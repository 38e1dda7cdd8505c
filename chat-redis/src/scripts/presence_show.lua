-- Says who may know when a user was last active.
--
-- Keys: the shard's index. Arguments: user, operation, visibility or nothing for everybody.
-- Result: 1. Atomic. Repeated with the same operation it changes nothing, so a late repetition undoes no later wish.
local user, operation, visibility = ARGV[2], ARGV[3], ARGV[4] ~= '' and ARGV[4]
if answered(operation) then return 1 end

local record = key_of('h', user)
if visibility then
  redis.call('HSET', record, 'visibility', visibility)
else
  redis.call('HDEL', record, 'visibility')
end
if not redis.call('ZSCORE', index, user) then
  local chosen, chosen_until = unpack(redis.call('HMGET', record, 'chosen', 'until'))
  retain(record, chosen, chosen_until, visibility)
end
remember(operation, 1)
return 1
