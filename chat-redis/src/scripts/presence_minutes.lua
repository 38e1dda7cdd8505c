-- Follows presence.lua in scripts that look after a shard.

-- Sessions begun are counted by the minute; of more than so many, those of the last hour are kept.
local function forget_minutes()
  local minutes = base .. 'b'
  if redis.call('HLEN', minutes) > 512 then
    for _, minute in ipairs(redis.call('HKEYS', minutes)) do
      if tonumber(minute) < math.floor(now / 60000) - 59 then redis.call('HDEL', minutes, minute) end
    end
  end
end
