-- Notes how many members were seen online, if the members are still the same.
-- KEYS[1] shard; ARGV: room, the life and revision they were seen in or '' for any, how many.
-- Result: nil without the room, nothing if the members changed, else the members with each role and the peak, how many
-- and when. Atomic.
local room = key('h', ARGV[2])
local is = redis.call('HMGET', room, '\1i', '\1v', '\1r0', '\1r1', '\1r2', '\1p', '\1t')
if not is[1] then return false end
if ARGV[3] ~= '' and ARGV[3] ~= is[1] .. ' ' .. is[2] then return {} end
local peak, at, online = tonumber(is[6]), tonumber(is[7]), tonumber(ARGV[4])
if online > peak then
  peak, at = online, now
  redis.call('HSET', room, '\1p', peak, '\1t', at)
end
return { tonumber(is[3]), tonumber(is[4]), tonumber(is[5]), peak, at }
