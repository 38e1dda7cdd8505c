-- Creates a room with its first members.
-- KEYS: room, order, answer, active, chores, staged room, staged order, left, then the list of each member.
-- ARGV: operation, room, kind, '1' and name or '0' and '', limit or '', members with each role, how many members are staged
-- or 0, then for each other member user, role, version.
-- Result: 1 made, 0 there already, -1 another room has this id, -2 what was staged is gone.
-- Atomic: the room, its members and their lists; the lists of staged members follow as a chore.
local answer = redis.call('GET', KEYS[3])
if answer then return tonumber(answer) end
local room, order, left = KEYS[1], KEYS[2], KEYS[8]
local operation, id, kind, name, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1' and ARGV[6], ARGV[7]
local staged = tonumber(ARGV[11])
if redis.call('HEXISTS', room, '\1i') == 1 then
  if staged > 0 then redis.call('UNLINK', KEYS[6], KEYS[7]) end
  local found = redis.call('HMGET', room, '\1k', '\1n', '\1m')
  return found[1] == kind and found[2] == name and found[3] == limit and 0 or -1
end
if staged > 0 and redis.call('ZCARD', KEYS[7]) ~= staged then return -2 end
-- Left over from a room that somebody else took out of Redis.
if redis.call('EXISTS', order) == 1 then
  redis.call('RENAME', order, left)
  redis.call('HSET', KEYS[5], '-' .. operation, id)
end
if staged > 0 then
  redis.call('RENAME', KEYS[6], room)
  redis.call('RENAME', KEYS[7], order)
  redis.call('PERSIST', room)
  redis.call('PERSIST', order)
  redis.call('HSET', KEYS[5], '+' .. id, '')
end
redis.call('HSET', room, '\1i', operation, '\1k', kind, '\1m', limit, '\1c', now, '\1s', 0, '\1a', now, '\1v', 0,
  '\1r0', ARGV[8], '\1r1', ARGV[9], '\1r2', ARGV[10], '\1p', 0, '\1t', 0)
if name then redis.call('HSET', room, '\1n', name) end
redis.call('ZADD', KEYS[4], now, id)
local since, seats, places = string.format('%.0f', now), {}, {}
for nth = 1, #KEYS - 8 do
  local at = 9 + 3 * nth
  local user = ARGV[at]
  seats[#seats + 1] = user
  seats[#seats + 1] = ARGV[at + 1] .. ' ' .. ARGV[at + 2] .. ' ' .. since
  places[#places + 1] = 0
  places[#places + 1] = user
  redis.call('ZADD', KEYS[8 + nth], 0, id)
end
if #seats > 0 then
  redis.call('HSET', room, unpack(seats))
  redis.call('ZADD', order, unpack(places))
end
remember(KEYS[3], 1)
return 1
