-- Does a part of a chore: the lists of the members of a room that was created or deleted with too many of them.
-- KEYS[1] shard; ARGV: which chore or '' for any, how many members.
-- Result: 1 if it is not done yet.
-- Atomic: each member's list says what the room says.
local chore, count = ARGV[2], tonumber(ARGV[3])
if chore == '' then chore = redis.call('HRANDFIELD', chores) end
local of = chore and redis.call('HGET', chores, chore)
if not of then return 0 end
local users
if string.sub(chore, 1, 1) == '-' then
  local left, room = shard .. ':t:' .. string.sub(chore, 2), key('h', of)
  users = redis.call('ZRANGE', left, 0, count - 1)
  for _, user in ipairs(users) do
    if redis.call('HEXISTS', room, user) == 0 then redis.call('ZREM', key('u', user), of) end
  end
  redis.call('ZREMRANGEBYRANK', left, 0, count - 1)
else
  local id, begin = string.sub(chore, 2), of == '' and '-' or '(' .. of
  users = redis.call('ZRANGEBYLEX', key('o', id), begin, '+', 'LIMIT', 0, count)
  for _, user in ipairs(users) do
    redis.call('ZADD', key('u', user), 0, id)
  end
  if #users == count then redis.call('HSET', chores, chore, users[count]) end
end
if #users == count then return 1 end
redis.call('HDEL', chores, chore)
return 0
