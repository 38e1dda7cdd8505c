-- Begins a session, or renews it.
--
-- Keys: the shard's index, none, the user's leases, its record. Arguments: user, session, lease in ms, operation, device or
-- nothing.
-- Result: {edge, users announced in the shard when it is one}. The edge is `-` for none, `on`, or when the last lease had
-- run out. Atomic. Repeated with the same operation it changes nothing and answers the same.
local leases, record = KEYS[3], KEYS[4]
local user, session, operation, field = ARGV[2], ARGV[3], ARGV[5], 's:' .. ARGV[3]
local deadline = math.min(now + tonumber(ARGV[4]), LAST)

local mine, active, chosen, chosen_until, idle, answers =
  unpack(redis.call('HMGET', record, field, 'active', 'chosen', 'until', 'idle', 'answers'))
local known = answer_to(operation, answers)
if not known and mine then
  local by, answer = string.match(mine, '^%d+ (%S+) (%S+)')
  known = by == operation and answer
end
if known then return {known, redis.call('ZCARD', index)} end

local last = tonumber(redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')[2])
local online = last and last > now
if mine and online then
  redis.call('ZADD', leases, deadline, session)
  redis.call('ZADD', index, 'LT', deadline, user)
  redis.call('HSET', record, 'answers', with_answer(answers, operation, '-'))
  return {'-'}
end

local edge, bound = '-', deadline
if online then
  redis.call('HINCRBY', counts, 'extra', 1)
else
  local before = false
  if last then
    edge, before = text(last), counted(chosen, idle)
    local ended = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
    answers = take_out(record, ended, answers)
    write_history()
    redis.call('DEL', leases)
    if #ended > 2 then redis.call('HINCRBY', counts, 'extra', 1 - #ended / 2) end
    if idle then redis.call('HDEL', record, 'idle') end
  else
    edge = 'on'
    redis.call('ZADD', listing, 0, user)
    if active then redis.call('PERSIST', record) end
  end
  if is_over(chosen, chosen_until) then
    redis.call('HDEL', record, 'chosen', 'until')
    chosen = false
  end
  recount(before, counted(chosen, false))
end
if chosen and chosen_until then bound = math.min(bound, tonumber(chosen_until)) end

redis.call('ZADD', leases, deadline, session)
local fields = {
  field, text(now) .. ' ' .. operation .. ' ' .. edge, 'active', text(math.max(now, tonumber(active) or 0)),
}
if ARGV[6] ~= '' then
  fields[5], fields[6] = 'd:' .. session, ARGV[6]
end
if answers then
  fields[#fields + 1] = 'answers'
  fields[#fields + 1] = recent(answers)
end
redis.call('HSET', record, unpack(fields))
redis.call('HINCRBY', base .. 'b', math.floor(now / 60000), 1)
if online then
  redis.call('ZADD', index, 'LT', bound, user)
  return {'-'}
end
redis.call('ZADD', index, bound, user)
return {edge, redis.call('ZCARD', index)}
