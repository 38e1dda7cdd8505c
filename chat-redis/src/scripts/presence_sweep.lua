-- Removes leases that ran out, looking at no more than 256 users.
--
-- Keys: the shard's index, the answer. Arguments: how many users may go offline.
-- Result: {1 when somebody is left to look at, users announced, the lowest bound or -1, {user, when, user, when, ...}}
-- Atomic. Repeated with the same key for its answer it answers with the same users.
local quota = tonumber(ARGV[2])
local known = answered()
if known then return cmsgpack.unpack(known) end

local due = redis.call('ZRANGEBYSCORE', index, '-inf', string.format('%.0f', now), 'LIMIT', 0, 256)
local more, lapses, raised = (#due == 256) and 1 or 0, {}, {}
for _, user in ipairs(due) do
  local leases, record = key_of('u', user), key_of('h', user)
  local held = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  local ended, bound = {}, nil
  for at = 1, #held, 2 do
    local deadline = tonumber(held[at + 1])
    if deadline > now then
      bound = deadline
      break
    end
    ended[at], ended[at + 1] = held[at], held[at + 1]
  end
  if bound then
    if #ended > 0 then
      take_out(record, ended)
      redis.call('ZREMRANGEBYSCORE', leases, '-inf', string.format('%.0f', now))
      redis.call('HINCRBY', counts, 'extra', -#ended / 2)
    end
    local chosen, chosen_until, idle = unpack(redis.call('HMGET', record, 'chosen', 'until', 'idle'))
    if is_over(chosen, chosen_until) then
      redis.call('HDEL', record, 'chosen', 'until')
      recount(chosen, counted(false, idle))
    elseif chosen and chosen_until then
      bound = math.min(bound, tonumber(chosen_until))
    end
    raised[#raised + 1] = bound
    raised[#raised + 1] = user
  elseif #lapses == 2 * quota then
    more = 1
    break
  else
    lapses[#lapses + 1] = user
    lapses[#lapses + 1] = tonumber(held[#held] or redis.call('ZSCORE', index, user))
    take_out(record, ended)
    redis.call('DEL', leases)
    goes_offline(user, record, #ended / 2)
  end
end
if #raised > 0 then redis.call('ZADD', index, unpack(raised)) end

forget_minutes()
local lowest = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
local answer = {more, redis.call('ZCARD', index), tonumber(lowest or -1), lapses}
if #lapses > 0 then remember(cmsgpack.pack(answer)) end
return answer
