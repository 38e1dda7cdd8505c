-- Appends events in order, each once.
-- ARGV from 3: the name of this call; about how many entries are kept; how many there may be at most; how many events of
-- this batch are still to come, zero when it was let in before; '1' when only registered groups keep entries; how long ids
-- are kept, in ms; how many events; then for each its id, how many arguments follow, fields and values.
-- Result: the life; how many more entries there may be, or -1 when it is full and nothing was appended; for each event
-- where it stands, after '+' when this call appended it, '=' when it was there.
-- Atomic: another call sees all of the batch or none.
local call, max, most, coming = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local registered_only, kept_for, count = ARGV[7] == '1', ARGV[8], tonumber(ARGV[9])

local name = life()
local ids, first, last = {}, {}, {}
local at = 10
for n = 1, count do
  ids[n], first[n], last[n] = ARGV[at], at + 2, at + 1 + tonumber(ARGV[at + 1])
  at = last[n] + 1
end

local known, before = {}, {}
if count > 0 then
  known, before = bulk('HMGET', NEW_IDS, ids), bulk('HMGET', OLD_IDS, ids)
end
local stands, fresh = {}, 0
for n = 1, count do
  local found = known[n] or before[n]
  if found and not stands[ids[n]] then
    -- What this very call appended when its reply was lost is not a repeat.
    local entry, by = string.match(found, '^(%S+) (.*)$')
    stands[ids[n]] = (by == call and '+' or '=') .. entry
  elseif not stands[ids[n]] then
    stands[ids[n]] = ''
    fresh = fresh + 1
  end
end

local length = redis.call('XLEN', stream)
local wanted = coming - count + fresh
if coming > 0 and wanted > 0 and length + wanted > most then
  length = trim(length, max, registered_only)
  if length + wanted > most then return {name, -1} end
end

local answer, new, told = {name, 0}, {}, {}
for n = 1, count do
  local id = ids[n]
  if stands[id] == '' then
    local entry = redis.call('XADD', stream, '*', unpack(ARGV, first[n], last[n]))
    new[#new + 1] = id
    new[#new + 1] = entry .. ' ' .. call
    stands[id] = '+' .. entry
  end
  answer[n + 2] = told[id] and '=' .. string.sub(stands[id], 2) or stands[id]
  told[id] = true
end
if fresh > 0 then
  local since = tonumber(redis.call('HGET', NEW_IDS, SINCE))
  if since and now - since >= WINDOW then redis.call('RENAME', NEW_IDS, OLD_IDS) end
  -- A clock that went back makes them stay longer, never shorter.
  if not since or since > now or now - since >= WINDOW then redis.call('HSET', NEW_IDS, SINCE, whole(now)) end
  bulk('HSET', NEW_IDS, new)
  redis.call('PEXPIRE', NEW_IDS, kept_for)
  length = length + fresh
  if length >= max + slack(max) and length >= tonumber(redis.call('GET', beside .. 'trim') or 0) then
    length = trim(length, max, registered_only)
  end
end
answer[2] = math.max(most - length, 0)
return answer
