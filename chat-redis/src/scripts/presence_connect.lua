-- Begins a session, or renews it.
--
-- Keys: the shard's index, the answer. Arguments: user, session, lease in ms, device as JSON or nothing.
-- Result: {edge, users announced in the shard}. The edge is `-` for none, `on`, or when the last lease had run out.
-- Atomic. Repeated with the same key for its answer it changes nothing and answers the same.
local user, session, operation = ARGV[2], ARGV[3], string.sub(KEYS[2], #base + 3)
local leases, record, field = key_of('u', user), key_of('h', user), 's:' .. session
local deadline = math.min(now + tonumber(ARGV[4]), LAST)

local known = answered()
if known then return {known, redis.call('ZCARD', index)} end

local mine, active, chosen, chosen_until, idle =
  unpack(redis.call('HMGET', record, field, 'active', 'chosen', 'until', 'idle'))
if mine then
  local by, answer = string.match(mine, '^%d+ (%S+) (%S+)')
  if by == operation then return {answer, redis.call('ZCARD', index)} end
end

local last = tonumber(redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')[2])
local online = last and last > now

if mine and online then
  redis.call('ZADD', leases, deadline, session)
  redis.call('ZADD', index, 'LT', deadline, user)
  remember('-')
  return {'-', redis.call('ZCARD', index)}
end

local edge, bound = '-', deadline
if online then
  redis.call('HINCRBY', counts, 'extra', 1)
else
  local before = false
  if last then
    edge, before = string.format('%.0f', last), counted(chosen, idle)
    local ended = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
    take_out(record, ended)
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
local begun = string.format('%.0f %s %s ', now, operation, edge) .. ARGV[5]
redis.call('HSET', record, field, begun, 'active', string.format('%.0f', math.max(now, tonumber(active) or 0)))
if online then
  redis.call('ZADD', index, 'LT', bound, user)
else
  redis.call('ZADD', index, bound, user)
end

redis.call('HINCRBY', base .. 'b', math.floor(now / 60000), 1)
return {edge, redis.call('ZCARD', index)}
