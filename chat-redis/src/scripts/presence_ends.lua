-- Follows presence.lua in scripts that begin or end sessions.

-- How long a record's answers may be before they are looked through: twice what is kept.
local MOST = 8000

-- What a record has been told of late, as ` operation:answer:when` again and again, without what is old.
local function recent(answers)
  local oldest = tonumber(string.match(answers or '', '^ [^:]+:[^:]+:(%d+)'))
  if not oldest or (now - oldest < ANSWERS and #answers < MOST) then return answers or '' end
  local kept = {}
  for entry, at in string.gmatch(answers, '( [^:]+:[^:]+:(%d+))') do
    if now - at < ANSWERS then kept[#kept + 1] = entry end
  end
  return table.concat(kept, '', math.max(1, #kept - 99))
end

local function with_answer(answers, operation, answer)
  return recent(answers) .. ' ' .. operation .. ':' .. answer .. ':' .. text(now)
end

local function answer_to(operation, answers)
  return answers and string.match(answers, ' ' .. operation .. ':([^:]+):')
end

-- Sessions that ended, for the history.
local closed, lasted = 0, 0

-- Notes the end of a session. What ends young may still be asked for by a repeated connect, which must neither begin it
-- again nor miss its answer: answers the record's answers with that.
local function close(kept, deadline, answers)
  local begun, operation, answer = string.match(kept or '', '^(%d+) (%S+) (%S+)')
  local ends = math.min(now, tonumber(deadline))
  closed, lasted = closed + 1, lasted + math.max(0, ends - (tonumber(begun) or ends))
  if begun and now - begun < ANSWERS then return with_answer(answers, operation, answer) end
  return answers
end

-- Takes sessions, {id, deadline, id, deadline, ...}, out of a record; answers its answers.
local function take_out(record, ended, answers)
  for from = 1, #ended, 1000 do
    local fields, gone = {}, {}
    for at = from, math.min(from + 999, #ended), 2 do
      fields[#fields + 1] = 's:' .. ended[at]
      gone[#gone + 1] = 's:' .. ended[at]
      gone[#gone + 1] = 'd:' .. ended[at]
    end
    local values = redis.call('HMGET', record, unpack(fields))
    for nth = 1, #fields do
      answers = close(values[nth], ended[from + 2 * nth - 1], answers)
    end
    redis.call('HDEL', record, unpack(gone))
  end
  return answers
end

local function write_history()
  if closed > 0 then
    redis.call('HINCRBY', counts, 'closed', closed)
    redis.call('HINCRBY', counts, 'closed_ms', lasted)
  end
end

-- Of a user who held so many sessions, the last of which has ended; but the index is the caller's.
local function goes_offline(user, record, held, idle, chosen, chosen_until, visibility)
  redis.call('ZREM', listing, user)
  if held > 1 then redis.call('HINCRBY', counts, 'extra', 1 - held) end
  recount(counted(chosen, idle), false)
  if idle then redis.call('HDEL', record, 'idle') end
  if is_over(chosen, chosen_until) then
    redis.call('HDEL', record, 'chosen', 'until')
    chosen = false
  end
  retain(record, chosen, chosen_until, visibility)
end
