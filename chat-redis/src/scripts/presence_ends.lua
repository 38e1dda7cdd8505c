-- Follows presence.lua in scripts that end sessions.

-- Takes sessions, {id, deadline, id, deadline, ...}, out of a record and into the history. What ends young may still be
-- asked for by a repeated connect, which must neither begin it again nor miss its answer.
local function take_out(record, ended)
  local closed, lasted, step = 0, 0, 1000
  for from = 1, #ended, step do
    local fields, last = {}, math.min(from + step - 1, #ended)
    for at = from, last, 2 do
      fields[#fields + 1] = 's:' .. ended[at]
    end
    local values = redis.call('HMGET', record, unpack(fields))
    for nth = 1, #fields do
      local begun, operation, answer = string.match(values[nth] or '', '^(%d+) (%S+) (%S+)')
      local ends = math.min(now, tonumber(ended[from + 2 * nth - 1]))
      closed, lasted = closed + 1, lasted + math.max(0, ends - (tonumber(begun) or ends))
      if begun and now - begun < ANSWERS then
        redis.call('SET', base .. 'o:' .. operation, answer, 'PX', ANSWERS)
      end
    end
    redis.call('HDEL', record, unpack(fields))
  end
  redis.call('HINCRBY', counts, 'closed', closed)
  redis.call('HINCRBY', counts, 'closed_ms', lasted)
end

-- Of a user who held so many sessions, the last of which has ended.
local function goes_offline(user, record, held)
  redis.call('ZREM', index, user)
  redis.call('ZREM', listing, user)
  if held > 1 then redis.call('HINCRBY', counts, 'extra', 1 - held) end
  local idle, chosen, chosen_until, visibility =
    unpack(redis.call('HMGET', record, 'idle', 'chosen', 'until', 'visibility'))
  recount(counted(chosen, idle), false)
  if idle then redis.call('HDEL', record, 'idle') end
  if is_over(chosen, chosen_until) then
    redis.call('HDEL', record, 'chosen', 'until')
    chosen = false
  end
  retain(record, chosen, chosen_until, visibility)
end
