-- Notes how many members were online at once, if that is more than ever.
-- KEYS: room. ARGV: its life and revision when they were, how many.
-- Result: the peak, how many and when. Atomic. A room that was made anew since has a peak of its own.
local is = redis.call('HMGET', KEYS[1], '\1i', '\1p', '\1t')
local online = tonumber(ARGV[3])
if is[1] ~= string.match(ARGV[2], '^%x+') then return { online, now } end
if online <= tonumber(is[2]) then return { tonumber(is[2]), tonumber(is[3]) } end
redis.call('HSET', KEYS[1], '\1p', online, '\1t', now)
return { online, now }
