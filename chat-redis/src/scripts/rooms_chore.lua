-- Does a part of a chore: the lists of the members of a room that was created or deleted with too many of them.
-- KEYS: chores. ARGV: the shard's part of all keys, which chore or '' for any, how many members.
-- Result: 1 if it goes on at once.
-- Atomic: each member's list says what the room says.
local chore, count = ARGV[3], tonumber(ARGV[4])
if chore == '' then chore = redis.call('HRANDFIELD', KEYS[1]) end
local of = chore and redis.call('HGET', KEYS[1], chore)
if not of then return 0 end

local function key(kind, id) return ARGV[2] .. ':' .. kind .. ':' .. encode(id) end
local function failed(answer) return type(answer) == 'table' and answer.err end

local sort, name = string.sub(chore, 1, 1), string.sub(chore, 2)
local users, list
if sort == '-' then
  local room = key('h', of)
  users = redis.pcall('ZRANGE', key('t', name), 0, count - 1)
  -- The room may have been made anew, with some of the members.
  local back = redis.pcall('EXISTS', room)
  if failed(back) then return 0 end
  list = function(user)
    local seat = back == 1 and redis.pcall('HEXISTS', room, user) or 0
    return seat == 0 and redis.pcall('ZREM', key('u', user), of) or seat
  end
else
  local begin = of == '' and '-' or '(' .. of
  users = redis.pcall('ZRANGEBYLEX', key('o', name), begin, '+', 'LIMIT', 0, count)
  list = function(user) return redis.pcall('ZADD', key('u', user), 0, name) end
end
if failed(users) then return 0 end
local done = 0
for _, user in ipairs(users) do
  if failed(list(user)) then break end
  done = done + 1
end
if done == #users and done < count then
  redis.call('HDEL', KEYS[1], chore)
  if sort == '-' then redis.pcall('UNLINK', key('t', name)) end
  return 0
end
if done == 0 then return 0 end
if sort == '-' then
  redis.call('ZREMRANGEBYRANK', key('t', name), 0, done - 1)
else
  redis.call('HSET', KEYS[1], chore, users[done])
end
return done == count and 1 or 0
