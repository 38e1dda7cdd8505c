-- Follows presence.lua in scripts that look after a shard.

-- Sessions begun are kept by the minute, for an hour and as long again.
local function forget_minutes()
  local minutes = base .. 'b'
  if redis.call('HLEN', minutes) > 120 then
    for _, minute in ipairs(redis.call('HKEYS', minutes)) do
      if tonumber(minute) < math.floor(now / 60000) - 59 then redis.call('HDEL', minutes, minute) end
    end
  end
end
