-- Ends a session.
--
-- Keys: the shard's index, none, the user's leases, its record. Arguments: user, session, operation.
-- Result: {edge, users announced in the shard when it is one}. The edge is `-` for none, or `off`.
-- Atomic. Repeated with the same operation it changes nothing and answers the same.
local leases, record = KEYS[3], KEYS[4]
local user, session, operation = ARGV[2], ARGV[3], ARGV[4]

local mine, idle, chosen, chosen_until, visibility, answers =
  unpack(redis.call('HMGET', record, 's:' .. session, 'idle', 'chosen', 'until', 'visibility', 'answers'))
local known = answer_to(operation, answers)
if known then return {known, redis.call('ZCARD', index)} end

local deadline = redis.call('ZSCORE', leases, session)
if not deadline then return {'-'} end
redis.call('ZREM', leases, session)
answers = close(mine, deadline, answers)
redis.call('HDEL', record, 's:' .. session, 'd:' .. session)

local last = tonumber(redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')[2])
if last and last > now then
  write_history()
  redis.call('HINCRBY', counts, 'extra', -1)
  redis.call('HSET', record, 'answers', with_answer(answers, operation, '-'))
  return {'-'}
end

local held = 1
if last then
  local lapsed = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  answers, held = take_out(record, lapsed, answers), held + #lapsed / 2
  redis.call('DEL', leases)
end
write_history()
redis.call('HSET', record, 'answers', with_answer(answers, operation, 'off'))
redis.call('ZREM', index, user)
goes_offline(user, record, held, idle, chosen, chosen_until, visibility)
return {'off', redis.call('ZCARD', index)}
