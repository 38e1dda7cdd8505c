-- Begins the scripts over the profiles of one shard. KEYS[1] is the index: who has a profile, by its end. ARGV[2] is for
-- how many milliseconds Redis keeps what is over, ARGV[3] how long profiles and removals are kept, in ms.
--
-- A record is a version (byte 1), when the profile was updated (8 bytes, ms), its end (8), when the user was removed
-- plus one, or 0 (8), and the profile as JSON, or nothing. It stays for as long as the later of both.
local rubbish, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
local version = '\1'

local function number(bytes)
  return (struct.unpack('>I8', bytes))
end

local function bytes(number)
  return struct.pack('>I8', number)
end

-- When a profile was updated, if there is one, and when its user was removed.
local function known(key)
  local head = redis.call('GETRANGE', key, 0, 24)
  if #head < 25 or head:sub(1, 1) ~= version then
    return nil, 0
  end
  local is_live = number(head:sub(10, 17)) > now
  return is_live and number(head:sub(2, 9)) or nil, number(head:sub(18, 25))
end
