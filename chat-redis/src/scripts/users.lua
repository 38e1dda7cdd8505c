-- Begins the scripts over the profiles of one shard. KEYS[1] is the index: who has a profile, by its end. ARGV[2] is for
-- how many milliseconds Redis keeps what is over, ARGV[3] how long profiles and removals are kept, in ms.
--
-- A record is a version (byte 1), when the profile was updated (8 bytes, ms), its end (8), when the user was removed
-- plus one, or 0 (8), and the profile as JSON, or nothing. It stays for as long as the later of both.
local rubbish, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
local version, never = '\1', struct.pack('>I8', 0)

-- Times come from callers and may be any 64 bits, which a Lua number cannot hold.
local function is_before(time, other)
  local high, low = struct.unpack('>I4I4', time)
  local other_high, other_low = struct.unpack('>I4I4', other)
  return high < other_high or (high == other_high and low < other_low)
end

-- When a profile was updated, if there is one, and when its user was removed.
local function known(key)
  local head = redis.call('GETRANGE', key, 0, 24)
  if #head < 25 or head:sub(1, 1) ~= version then
    return nil, never
  end
  local is_live = struct.unpack('>I8', head, 10) > now
  return is_live and head:sub(2, 9) or nil, head:sub(18, 25)
end
