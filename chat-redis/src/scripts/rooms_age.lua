-- Moves rooms on in their lives.
-- KEYS: active, idle, answer, chores.
-- ARGV: the shard's part of all keys, how many steps at most, how many rooms to look at, how long a room is active and how
-- long it is not archived without activity (ms).
-- Result: whether more may be due, whether there are chores, then room and state for each step.
-- Atomic: each step is handed out here and nowhere else. A room's place in the index is never after its last activity, so
-- the room itself is asked.
local limit, look, steps = 2 * ARGV[3], tonumber(ARGV[4]), {}
local answer = redis.call('GET', KEYS[3])
if answer then
  for part in string.gmatch(answer, '[^\n]+') do steps[#steps + 1] = part end
  return { 1, redis.call('EXISTS', KEYS[4]), unpack(steps) }
end

local function age(from, state, without)
  local before = now - without
  local due = redis.call('ZRANGEBYSCORE', from, '-inf', string.format('%.0f', before), 'LIMIT', 0, look)
  for _, id in ipairs(due) do
    local room = ARGV[2] .. ':h:' .. encode(id)
    local is = redis.pcall('HMGET', room, '\1s', '\1a')
    if is.err then return false end
    if is[1] ~= state then
      redis.call('ZREM', from, id)
    elseif tonumber(is[2]) > before then
      redis.call('ZADD', from, is[2], id)
    elseif #steps >= limit then
      return true
    else
      redis.call('HSET', room, '\1s', state + 1)
      redis.call('ZREM', from, id)
      if state == '0' then redis.call('ZADD', KEYS[2], is[2], id) end
      steps[#steps + 1] = id
      steps[#steps + 1] = tostring(state + 1)
    end
  end
  return #due == look
end

-- In this order no room takes two steps at once.
local more = age(KEYS[2], '1', ARGV[6])
more = age(KEYS[1], '0', ARGV[5]) or more
if #steps > 0 then remember(KEYS[3], table.concat(steps, '\n')) end
return { more and 1 or 0, redis.call('EXISTS', KEYS[4]), unpack(steps) }
