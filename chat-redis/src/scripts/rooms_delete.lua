-- Forgets a room.
-- KEYS: room, order, answer, active, idle, chores, left.
-- ARGV: the shard's part of all keys, operation, room, how many members are taken out at once.
-- Result: 0 it was not there, 1 it was, 2 it was and the lists of its members follow as the chore '-' .. operation.
-- Atomic: the room is gone for everybody; so are the lists of its members unless they are too many.
local answer = redis.call('GET', KEYS[3])
if answer then return tonumber(answer) end
local room, order, id = KEYS[1], KEYS[2], ARGV[4]
if redis.call('HEXISTS', room, '\1i') == 0 then return 0 end
answer = 1
if redis.call('ZCARD', order) > tonumber(ARGV[5]) then
  answer = 2
else
  for _, user in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    local done = redis.pcall('ZREM', ARGV[2] .. ':u:' .. encode(user), id)
    if type(done) == 'table' then answer = 2 break end
  end
end
if answer == 2 then
  redis.call('RENAME', order, KEYS[7])
  redis.call('HSET', KEYS[6], '-' .. ARGV[3], id)
end
redis.call('UNLINK', room, order)
redis.call('ZREM', KEYS[4], id)
redis.call('ZREM', KEYS[5], id)
redis.call('HDEL', KEYS[6], '+' .. id)
remember(KEYS[3], answer)
return answer
