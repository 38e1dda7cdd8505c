-- Appends events in order, each once.
-- ARGV from 3: the name of this call; about how many entries are kept; how many there may be at most; how many events of
-- this batch are still to come, zero when it was let in before; '1' when only registered groups keep entries; how long ids
-- are kept, in ms; how many events; their ids; then for each run of events that have the same fields how many events, how
-- many fields, their names, and the values of one event after the other.
-- Result: the life; how many more entries there may be, or -1 when it is full and nothing was appended; for each event
-- where it stands, after '=' when it was there before this call.
-- Atomic: another call sees all of the batch or none.
local call, max, most, coming = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local registered_only, kept_for, count = ARGV[7] == '1', ARGV[8], tonumber(ARGV[9])
local BEFORE = 9 -- the first id

local name = life()
local known, before = {}, {}
if count > 0 then
  known = redis.call('HMGET', NEW_IDS, unpack(ARGV, BEFORE + 1, BEFORE + count))
  before = redis.call('HMGET', OLD_IDS, unpack(ARGV, BEFORE + 1, BEFORE + count))
end
-- Where each id stands, if it does; and where this very call began to append when its reply was lost.
local stands, own, told, fresh = {}, nil, {}, 0
for n = 1, count do
  local id, found = ARGV[BEFORE + n], known[n] or before[n]
  if found then
    local entry, by = string.match(found, '^(%S+) (.*)$')
    if by == call then own = entry end
    stands[id] = entry or found
  elseif stands[id] == nil then
    stands[id], fresh = false, fresh + 1
  end
end

local length = redis.call('XLEN', stream)
local wanted = coming - count + fresh
if coming > 0 and wanted > 0 and length + wanted > most then
  length = trim(length, max, registered_only)
  if length + wanted > most then return {name, -1} end
end

local answer, new, n, at = {name, 0}, {}, 0, BEFORE + count
while n < count do
  local last, fields, entry = n + tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), {}
  for field = 1, fields do entry[2 * field - 1] = ARGV[at + 2 + field] end
  at = at + 2 + fields
  while n < last do
    n = n + 1
    local id = ARGV[BEFORE + n]
    local place = stands[id]
    if place then
      -- What this very call appended is no repeat, the first time.
      local is_own = own and not told[id] and not is_before(place, own)
      answer[n + 2], told[id] = is_own and place or '=' .. place, true
    else
      for field = 1, fields do entry[2 * field] = ARGV[at + field] end
      place = redis.call('XADD', stream, '*', unpack(entry))
      stands[id], answer[n + 2] = place, place
      new[#new + 1] = id
      -- The first one also tells whose they are: all of a call stand behind one another.
      new[#new + 1] = #new == 1 and place .. ' ' .. call or place
    end
    at = at + fields
  end
end
if fresh > 0 then
  local since = tonumber(redis.call('HGET', NEW_IDS, SINCE))
  if since and now - since >= WINDOW then redis.call('RENAME', NEW_IDS, OLD_IDS) end
  -- A clock that went back makes them stay longer, never shorter.
  if not since or since > now or now - since >= WINDOW then redis.call('HSET', NEW_IDS, SINCE, whole(now)) end
  redis.call('HSET', NEW_IDS, unpack(new))
  redis.call('PEXPIRE', NEW_IDS, kept_for)
  length = length + fresh
  if length >= max + slack(max) and length >= tonumber(redis.call('GET', beside .. 'trim') or 0) then
    length = trim(length, max, registered_only)
  end
end
answer[2] = math.max(most - length, 0)
return answer
