-- One page of a room's members, by id.
-- KEYS[1] shard; ARGV: room, where the page begins for ZRANGEBYLEX, how many.
-- Result: nil without the room, else the users and their seats. Atomic.
local room = key('h', ARGV[2])
if redis.call('HEXISTS', room, '\1i') == 0 then return false end
local users = redis.call('ZRANGEBYLEX', key('o', ARGV[2]), ARGV[3], '+', 'LIMIT', 0, ARGV[4])
if #users == 0 then return { users, users } end
return { users, redis.call('HMGET', room, unpack(users)) }
