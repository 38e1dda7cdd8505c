-- Begins every script of the rooms. KEYS[1] is the beginning of all keys of one shard of rooms: everything that a script
-- touches is under it, so in one slot.
local shard = KEYS[1]
local active, idle, chores = shard .. ':a:active', shard .. ':a:idle', shard .. ':z'

-- The same as in keys.rs.
local function encode(id)
  return (string.gsub(id, '[%%:{}]', function(char) return string.format('%%%02X', string.byte(char)) end))
end

local function key(kind, id)
  return shard .. ':' .. kind .. ':' .. encode(id)
end

-- What this very operation answered, if its reply was lost and it is asked again.
local function remembered(operation)
  return redis.call('GET', shard .. ':q:' .. operation)
end

local function remember(operation, answer)
  redis.call('SET', shard .. ':q:' .. operation, answer, 'PX', 30000)
end

-- Something happened in a room.
local function wake(id, room, state, last)
  local at = math.max(tonumber(last), now)
  redis.call('HSET', room, '\1s', 0, '\1a', at)
  if state ~= '0' then
    redis.call('ZREM', idle, id)
    redis.call('ZADD', active, at, id)
  end
end
