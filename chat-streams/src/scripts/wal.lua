-- A write-ahead log. KEYS: its stream, the hash of names, the hash of its state; all in one slot.
-- State: owner, until (when the lease ends), next (above every place there was), bytes.
-- Begins every script of the log; ARGV[2] is who asks, ARGV[3] how long a lease is, in milliseconds.
local log, names, state = KEYS[1], KEYS[2], KEYS[3]

-- Takes or renews the lease; false while somebody else has it.
local function is_ours()
  local held = redis.call('HMGET', state, 'owner', 'until')
  if held[1] and held[1] ~= ARGV[2] and tonumber(held[2]) > now then
    return false
  end
  redis.call('HSET', state, 'owner', ARGV[2], 'until', string.format('%.0f', now + tonumber(ARGV[3])))
  return true
end

local function bytes()
  return tonumber(redis.call('HGET', state, 'bytes') or '0')
end
