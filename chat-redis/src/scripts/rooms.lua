-- Begins every script of the rooms. All keys of a script are under one shard's tag, so in one slot. Those that are known
-- before are in KEYS. The others, of rooms and users found on the way, are made here, and may have moved to another node
-- while the slot is being moved: they are asked by pcall, and left for later.

-- The same as in keys.rs.
local function encode(id)
  return (string.gsub(id, '[%%:{}]', function(char) return string.format('%%%02X', string.byte(char)) end))
end

-- Remembers what this very operation answered: its reply may be lost, and then it is asked again.
local function remember(key, answer)
  redis.call('SET', key, answer, 'PX', 30000)
end

-- Something happened in a room.
local function wake(id, room, active, idle, state, last)
  local at = math.max(tonumber(last), now)
  redis.call('HSET', room, '\1s', 0, '\1a', at)
  if state ~= '0' then
    redis.call('ZREM', idle, id)
    redis.call('ZADD', active, at, id)
  end
end
