-- Follows presence.lua in scripts that keep an answer under KEYS[2].

local function answered()
  return redis.call('GET', KEYS[2])
end

local function remember(answer)
  redis.call('SET', KEYS[2], answer, 'PX', ANSWERS)
end
