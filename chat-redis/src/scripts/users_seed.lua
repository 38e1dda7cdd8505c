-- Begins the scripts over a profile in seed 002's layout. KEYS[1] is its hash, which other services write too; KEYS[2] is
-- what we know beside it: `updated end removed`, when the profile we wrote was updated, its end, and when the user was
-- removed plus one, or 0. ARGV[2] is for how many milliseconds Redis keeps what is over, ARGV[3] how long profiles and
-- removals are kept, in ms.
local rubbish, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Times are text, because they may be any 64 bits, which a Lua number cannot hold.
local function number(text)
  return text and text:match('^0*(%d+)$') or '0'
end

local function is_before(time, other)
  return #time < #other or (#time == #other and time < other)
end

local beside = redis.call('GET', KEYS[2])
local ours, ends, removed = (beside or '0 0 0'):match('^(%d+) (%d+) (%d+)$')
if not ours then
  return redis.error_reply('WRONGTYPE not what stands beside a profile')
end

-- When the profile in the hash was updated, if there is one. If it is the one we wrote, we know when it is over.
local there = redis.call('EXISTS', KEYS[1]) == 1 and number(redis.call('HGET', KEYS[1], 'updatedAt'))
if there and there == ours and tonumber(ends) <= now then
  there = nil
end

local function remember(updated, ends, removed)
  local text = string.format('%s %s %s', updated, ends, removed)
  redis.call('SET', KEYS[2], text, 'PX', ttl + rubbish)
end
