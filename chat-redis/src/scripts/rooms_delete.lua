-- Forgets a room.
-- KEYS[1] shard; ARGV: operation, room, how many members are taken out at once.
-- Result: 0 it was not there, 1 it was, 2 it was and the lists of its members follow as the chore '-' .. operation.
-- Atomic: the room is gone for everybody; so are the lists of its members unless they are too many.
local operation, id = ARGV[2], ARGV[3]
local answer = remembered(operation)
if answer then return tonumber(answer) end
local room, order = key('h', id), key('o', id)
if redis.call('HEXISTS', room, '\1i') == 0 then return 0 end
answer = 1
if redis.call('ZCARD', order) > tonumber(ARGV[4]) then
  redis.call('RENAME', order, shard .. ':t:' .. operation)
  redis.call('HSET', chores, '-' .. operation, id)
  answer = 2
else
  for _, user in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    redis.call('ZREM', key('u', user), id)
  end
end
redis.call('UNLINK', room, order)
redis.call('ZREM', active, id)
redis.call('ZREM', idle, id)
redis.call('HDEL', chores, '+' .. id)
remember(operation, answer)
return answer
