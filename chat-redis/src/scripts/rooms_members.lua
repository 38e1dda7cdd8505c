-- One page of a room's members, by id.
-- KEYS: room, order. ARGV: where the page begins for ZRANGEBYLEX, how many.
-- Result: nil without the room, else the users and their seats. Atomic.
if redis.call('HEXISTS', KEYS[1], '\1i') == 0 then return false end
local users = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], '+', 'LIMIT', 0, ARGV[3])
if #users == 0 then return { users, users } end
return { users, redis.call('HMGET', KEYS[1], unpack(users)) }
