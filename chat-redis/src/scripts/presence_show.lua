-- Says who may know when a user was last active.
--
-- Keys: the shard's index, the answer, the user's record. Arguments: user, visibility or nothing for everybody.
-- Result: 1. Atomic. Repeated with the same key for its answer it undoes no later wish.
local user, visibility = ARGV[2], ARGV[3] ~= '' and ARGV[3]
if answered() then return 1 end

local record = KEYS[3]
if visibility then
  redis.call('HSET', record, 'visibility', visibility)
else
  redis.call('HDEL', record, 'visibility')
end
if not redis.call('ZSCORE', index, user) then
  local chosen, chosen_until = unpack(redis.call('HMGET', record, 'chosen', 'until'))
  retain(record, chosen, chosen_until, visibility)
end
remember(1)
return 1
