-- Creates a room with its first members.
-- KEYS[1] shard; ARGV: operation, room, kind, '1' and name or '0' and '', limit or '', members with each role, how many
-- members are staged or 0, then for each member user, role, version.
-- Result: 1 made, 0 there already, -1 another room has this id, -2 what was staged is gone.
-- Atomic: the room, its members and their lists; the lists of staged members follow as a chore.
local operation, id, kind, name, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1' and ARGV[6], ARGV[7]
local staged = tonumber(ARGV[11])
local answer = remembered(operation)
if answer then return tonumber(answer) end
local room, order = key('h', id), key('o', id)
local stage = shard .. ':n:' .. operation
if redis.call('HEXISTS', room, '\1i') == 1 then
  redis.call('UNLINK', stage .. ':h', stage .. ':o')
  local found = redis.call('HMGET', room, '\1k', '\1n', '\1m')
  return found[1] == kind and found[2] == name and found[3] == limit and 0 or -1
end
if staged > 0 then
  if redis.call('ZCARD', stage .. ':o') ~= staged then return -2 end
  redis.call('RENAME', stage .. ':h', room)
  redis.call('RENAME', stage .. ':o', order)
  redis.call('PERSIST', room)
  redis.call('PERSIST', order)
  redis.call('HSET', chores, '+' .. id, '')
end
redis.call('HSET', room, '\1i', operation, '\1k', kind, '\1m', limit, '\1c', now, '\1s', 0, '\1a', now, '\1v', 0,
  '\1r0', ARGV[8], '\1r1', ARGV[9], '\1r2', ARGV[10], '\1p', 0, '\1t', 0)
if name then redis.call('HSET', room, '\1n', name) end
redis.call('ZADD', active, now, id)
local seats, places = {}, {}
for at = 12, #ARGV, 3 do
  local user = ARGV[at]
  seats[#seats + 1] = user
  seats[#seats + 1] = ARGV[at + 1] .. ' ' .. ARGV[at + 2] .. ' ' .. string.format('%.0f', now)
  places[#places + 1] = 0
  places[#places + 1] = user
  redis.call('ZADD', key('u', user), 0, id)
end
if #seats > 0 then
  redis.call('HSET', room, unpack(seats))
  redis.call('ZADD', order, unpack(places))
end
remember(operation, 1)
return 1
