-- Changes the members of a room, one change after the other.
-- KEYS: room, order, answer, active, idle, then for each user list, removal.
-- ARGV: room, how long a removal is remembered and how long Redis keeps that (ms), how many users, the users, then for each
-- change which user, role or '' for a removal, version.
-- Result: nil without the room, else a letter a change: Changed, Unchanged, Outdated, Full.
-- Atomic: the members, their number, their lists, the room's activity.
local answer = redis.call('GET', KEYS[3])
if answer then return answer end
local id, room, order = ARGV[2], KEYS[1], KEYS[2]
local info = redis.call('HMGET', room, '\1i', '\1m', '\1s', '\1a', '\1r0', '\1r1', '\1r2')
local life, limit = info[1], tonumber(info[2])
if not life then return false end

-- Versions are 64 bits, more than a number of Lua holds: they stay text.
local function older(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end

local users, people = {}, {}
for nth = 1, tonumber(ARGV[5]) do
  users[nth] = ARGV[5 + nth]
  people[nth] = { list = KEYS[4 + 2 * nth], removal = KEYS[5 + 2 * nth] }
end
local strangers, removals = {}, {}
for nth, seat in ipairs(redis.call('HMGET', room, unpack(users))) do
  local person = people[nth]
  person.seat = seat
  if seat then
    person.role, person.version, person.since = string.match(seat, '^([012]) (%d+) (%d+)$')
    if not person.role then error({ err = 'WRONGTYPE not a seat' }) end
  else
    strangers[#strangers + 1] = person
    removals[#removals + 1] = person.removal
  end
end
if #removals > 0 then
  for nth, mark in ipairs(redis.call('MGET', unpack(removals))) do
    local person = strangers[nth]
    person.mark = mark
    if mark then
      local of, version, till = string.match(mark, '^(%x+) (%d+) (%d+)$')
      if of == life and tonumber(till) > now then person.version = version end
    end
  end
end

local count = { ['0'] = tonumber(info[5]), ['1'] = tonumber(info[6]), ['2'] = tonumber(info[7]) }

local since, till = string.format('%.0f', now), string.format('%.0f', now + ARGV[3])

local function apply(person, role, version)
  local known = person.version or '0'
  if version ~= '0' and older(version, known) then return 'O' end
  if older(version, known) then version = known end
  local before = person.role
  if role == '' then
    person.role, person.removed = nil, version ~= '0'
    if before then count[before] = count[before] - 1 end
  elseif before then
    person.role = role
    count[before] = count[before] - 1
    count[role] = count[role] + 1
  elseif limit and count['0'] + count['1'] + count['2'] >= limit then
    return 'F'
  else
    person.role, person.since, person.removed = role, since, nil
    count[role] = count[role] + 1
  end
  person.version = version
  return person.role == before and 'U' or 'C'
end

local answers = {}
for at = 6 + #users, #ARGV, 3 do
  answers[#answers + 1] = apply(people[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
answer = table.concat(answers)

local seats, places, gone, forgotten = {}, {}, {}, {}
for nth, user in ipairs(users) do
  local person = people[nth]
  if person.role then
    local seat = person.role .. ' ' .. person.version .. ' ' .. person.since
    if seat ~= person.seat then
      seats[#seats + 1] = user
      seats[#seats + 1] = seat
    end
    if not person.seat then
      places[#places + 1] = 0
      places[#places + 1] = user
      redis.call('ZADD', person.list, 0, id)
    end
    if person.mark then forgotten[#forgotten + 1] = person.removal end
  else
    if person.seat then
      gone[#gone + 1] = user
      redis.call('ZREM', person.list, id)
    end
    if person.removed then
      redis.call('SET', person.removal, life .. ' ' .. person.version .. ' ' .. till, 'PX', ARGV[4])
    end
  end
end
if #seats > 0 then redis.call('HSET', room, unpack(seats)) end
if #places > 0 then redis.call('ZADD', order, unpack(places)) end
if #forgotten > 0 then redis.call('DEL', unpack(forgotten)) end
if #gone > 0 then
  redis.call('HDEL', room, unpack(gone))
  redis.call('ZREM', order, unpack(gone))
end
if string.find(answer, 'C', 1, true) then
  redis.call('HSET', room, '\1r0', count['0'], '\1r1', count['1'], '\1r2', count['2'])
  redis.call('HINCRBY', room, '\1v', 1)
  wake(id, room, KEYS[4], KEYS[5], info[3], info[4])
  remember(KEYS[3], answer)
end
return answer
