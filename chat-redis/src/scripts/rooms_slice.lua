-- Some members of a room, and the room in numbers.
-- KEYS: room, order. ARGV: where to begin for ZRANGEBYLEX, how many, a revision at which they are known or ''.
-- Result: nil without the room, else its revision, the members with each role and the peak, how many and when, and the
-- users, nil if they are known. Atomic.
local is = redis.call('HMGET', KEYS[1], '\1i', '\1v', '\1r0', '\1r1', '\1r2', '\1p', '\1t')
if not is[1] then return false end
local revision = is[1] .. ' ' .. is[2]
local users = revision ~= ARGV[4] and redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], '+', 'LIMIT', 0, ARGV[3])
return { revision, { is[3], is[4], is[5], is[6], is[7] }, users }
