-- Removes leases that ran out, looking at no more than 256 users.
--
-- Keys: the shard's index, the answer. Arguments: how many users may go offline.
-- Result: {1 when somebody is left to look at, users announced, the lowest bound or -1, {user, when, user, when, ...}}
-- Atomic. Repeated with the same key for its answer it answers with the same users.
local quota = tonumber(ARGV[2])
local known = answered()
if known then return cmsgpack.unpack(known) end

local due = redis.call('ZRANGEBYSCORE', index, '-inf', text(now), 'LIMIT', 0, 256)
local more, lapses, raised, gone = (#due == 256) and 1 or 0, {}, {}, {}
for _, user in ipairs(due) do
  local leases, record = key_of('u', user), key_of('h', user)
  local held = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  local ended, bound = {}, nil
  for at = 1, #held, 2 do
    if tonumber(held[at + 1]) > now then
      bound = tonumber(held[at + 1])
      break
    end
    ended[at], ended[at + 1] = held[at], held[at + 1]
  end
  if not bound and #gone == quota then
    more = 1
    break
  end
  local idle, chosen, chosen_until, visibility, answers =
    unpack(redis.call('HMGET', record, 'idle', 'chosen', 'until', 'visibility', 'answers'))
  if #ended > 0 then
    local told = take_out(record, ended, answers)
    if told ~= answers then redis.call('HSET', record, 'answers', told) end
  end
  if bound then
    if #ended > 0 then
      redis.call('ZREMRANGEBYSCORE', leases, '-inf', text(now))
      redis.call('HINCRBY', counts, 'extra', -#ended / 2)
    end
    if is_over(chosen, chosen_until) then
      redis.call('HDEL', record, 'chosen', 'until')
      recount(chosen, counted(false, idle))
    elseif chosen and chosen_until then
      bound = math.min(bound, tonumber(chosen_until))
    end
    raised[#raised + 1] = bound
    raised[#raised + 1] = user
  else
    gone[#gone + 1] = user
    lapses[#lapses + 1] = user
    lapses[#lapses + 1] = tonumber(held[#held] or redis.call('ZSCORE', index, user))
    redis.call('DEL', leases)
    goes_offline(user, record, #ended / 2, idle, chosen, chosen_until, visibility)
  end
end
if #raised > 0 then redis.call('ZADD', index, unpack(raised)) end
if #gone > 0 then redis.call('ZREM', index, unpack(gone)) end
write_history()
forget_minutes()

local lowest = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
local answer = {more, redis.call('ZCARD', index), tonumber(lowest or -1), lapses}
if #lapses > 0 then remember(cmsgpack.pack(answer)) end
return answer
