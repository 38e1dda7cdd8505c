-- Begins the scripts over a profile in seed 002's layout. KEYS[1] is its hash, which other services write too; KEYS[2] is
-- what we know beside it: `updated end removed`, when the profile we wrote was updated, its end, and when the user was
-- removed plus one, or 0. ARGV[2] is for how many milliseconds Redis keeps what is over, ARGV[3] how long profiles and
-- removals are kept, in ms.
local rubbish, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])

-- A time that others wrote; what is none is the oldest.
local function time_in(text)
  local time = text and text:match('^%d+$') and tonumber(text) or 0
  return time <= 253402207200000 and time or 0
end

local beside = redis.call('GET', KEYS[2])
local ours, ends, removed = (beside or '0 0 0'):match('^(%d+) (%d+) (%d+)$')
if not ours then
  return redis.error_reply('WRONGTYPE not what stands beside a profile')
end
ours, ends, removed = tonumber(ours), tonumber(ends), tonumber(removed)

-- When the profile in the hash was updated, if there is one. If it is the one we wrote, we know when it is over.
local there = redis.call('EXISTS', KEYS[1]) == 1 and time_in(redis.call('HGET', KEYS[1], 'updatedAt'))
if there and there == ours and ends <= now then
  there = nil
end

local function remember(updated, ends, removed)
  local text = string.format('%.0f %.0f %.0f', updated, ends, removed)
  redis.call('SET', KEYS[2], text, 'PX', ttl + rubbish)
end
