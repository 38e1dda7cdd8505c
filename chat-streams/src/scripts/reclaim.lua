-- Takes over entries whose members have had them for too long, oldest first, with what the same member holds of their keys.
-- ARGV from 3: the group; the member that takes them; what orders entries without an envelope; for how many ms they have
-- been with their member at least; how many entries at most, before the rest of their keys is added; the name of this call.
-- Result: the life; 1; the entries as `fetch` gives them, in the order of the stream.
-- Atomic. Repeated under the same name: the same entries.
local g, member, idle, max, call = open(ARGV[3]), ARGV[4], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
-- How many entries are looked at.
local LOOK = 5000
-- After how long the native name of a member that has nothing is forgotten, in ms.
local FORGOTTEN = 3600000

local name = redis.call('GET', beside .. 'life') or begin_life()
local again = repeated(g, 'r', member, call)
if again then return {name, 1, again} end

-- The sole member takes from itself what nobody renewed. When there is no such thing, its spell goes on.
local sole = sole_of(g)
local function is_anything_idle()
  local since = redis.call('EXISTS', with(g, member)) == 1 and tonumber(redis.call('ZSCORE', g.busy, member))
  if since and (since > now or now - since >= idle) then return true end
  if ARGV[1] == '' then
    local found = redis.pcall('XPENDING', stream, g.name, 'IDLE', ARGV[6], '-', '+', 1, member)
    return found.err or #found > 0
  end
  local oldest = redis.pcall('XPENDING', stream, g.name, '-', '+', 1, member)
  if oldest.err or #oldest == 0 then return oldest.err end
  for _, note in ipairs(redis.call('LRANGE', g.noted, 0, -1)) do
    local upto, at = string.match(note, '^(%S+) (%S+)$')
    if not is_before(upto, oldest[1][1]) then return tonumber(at) > now or now - at >= idle end
  end
  return idle <= 0
end
if sole and (sole.member ~= member or is_anything_idle()) then
  end_spell(g)
  sole = nil
end

local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, g.name)
if consumers.err then
  name = life()
  register_again(g)
  return {name, 1, {}}
end

-- The clock went back: what seems to have been handed out later than now was handed out by now.
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', g.busy, '(' .. whole(now), '+inf')) do
  local records, later = redis.call('HGETALL', with(g, owner)), {}
  for n = 1, #records, 2 do
    local record = recorded(records[n + 1])
    if record.since > now then
      later[#later + 1] = records[n]
      later[#later + 1] = whole(now) .. ':' .. record.attempt .. ':' .. record.key
    end
  end
  bulk('HSET', with(g, owner), later)
  redis.call('ZADD', g.busy, now, owner)
end

local entries, is_idle, bounds, looked = {}, {}, {}, 0
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', g.busy, '-inf', now - idle)) do
  if looked >= LOOK then break end
  local records, oldest = redis.call('HGETALL', with(g, owner)), nil
  is_idle[owner] = {}
  for n = 1, #records, 2 do
    local record = recorded(records[n + 1])
    entries[#entries + 1] = {id = records[n], key = record.key, attempt = record.attempt, since = record.since, owner = owner}
    if now - record.since >= idle then is_idle[owner][record.key] = true end
    if not oldest or record.since < oldest then oldest = record.since end
  end
  looked = looked + #records / 2
  bounds[owner] = oldest or false
end
table.sort(entries, function(a, b) return is_before(a.id, b.id) end)

local taken, chosen, count, moved = {}, {}, 0, {}
for _, entry in ipairs(entries) do
  local owner, key = entry.owner, entry.key
  chosen[owner] = chosen[owner] or {}
  if is_idle[owner][key] and (chosen[owner][key] or count < max) then
    chosen[owner][key] = true
    count = count + 1
    entry.attempt = entry.attempt + 1
    taken[#taken + 1] = entry
    moved[owner] = moved[owner] or {}
    table.insert(moved[owner], entry.id)
  end
end

-- From whom it was taken.
local ids, nobody = {}, {}
for n, entry in ipairs(taken) do
  ids[n] = entry.id
  nobody[entry.key] = false
end
for owner, gone in pairs(moved) do
  bulk('HDEL', with(g, owner), gone)
  if owner ~= member then
    for key in pairs(chosen[owner]) do
      local order = redis.call('ZSCORE', mine(g, owner), key)
      if order then
        redis.call('ZREM', mine(g, owner), key)
        announce(g, key, order, member)
      end
    end
  end
end
for owner in pairs(bounds) do
  local oldest
  for _, entry in ipairs(entries) do
    local stays = entry.owner == owner and not (chosen[owner] and chosen[owner][entry.key])
    if stays and (not oldest or entry.since < oldest) then oldest = entry.since end
  end
  -- First what a server without memory lets happen: then the rest may, too.
  redis.call('ZREM', g.busy, owner)
  if oldest then redis.call('ZADD', g.busy, oldest, owner) end
end
-- A key is held by one member, so what was taken of it is all there is of it: it is counted anew.
hand_out(g, nobody, member, taken)
for owner in pairs(bounds) do
  if redis.call('EXISTS', with(g, owner)) == 0 then set_free(g, owner) end
end

local contents, answer = claim(g, member, ids), {}
for n, entry in ipairs(taken) do
  answer[n] = {entry.id, entry.attempt, contents[entry.id] or fields_of(g, entry.id)}
end

-- Native names: what members of other programs had and forgot is taken over; who has nothing for long is forgotten.
local others = {}
for _, flat in ipairs(consumers) do
  local consumer = named(flat)
  local ours, theirs = with(g, consumer.name), with(g, former(consumer.name))
  local known = redis.call('HLEN', ours) + redis.call('HLEN', theirs)
  local is_parked = consumer.name == PARKED and redis.call('EXISTS', g.wait) == 1
  if consumer.pending == 0 and consumer.idle >= FORGOTTEN and consumer.name ~= member then
    redis.call('XGROUP', 'DELCONSUMER', stream, g.name, consumer.name)
    for _, sort in ipairs({'f', 'F', 'r', 'R', 's', 'S'}) do redis.call('HDEL', g.last, sort .. consumer.name) end
    redis.call('ZREM', g.seen, consumer.name)
  elseif consumer.pending > known and not is_parked and not (sole and sole.member == consumer.name) and count < max then
    -- A member may have the name of one of another program.
    local most = math.min(known + max - count, LOOK)
    local pending = redis.call('XPENDING', stream, g.name, 'IDLE', idle, '-', '+', most, consumer.name)
    for _, one in ipairs(pending) do
      local is_ours = known > 0 and redis.call('HEXISTS', ours, one[1]) + redis.call('HEXISTS', theirs, one[1]) > 0
      if not is_ours and count < max then
        others[#others + 1] = {id = one[1], attempt = one[4] + 1}
        count = count + 1
      end
    end
  end
end
if #others > 0 then
  table.sort(others, function(a, b) return is_before(a.id, b.id) end)
  local holders, keys, fresh, parked, places = {}, {}, {}, {}, {}
  for n, other in ipairs(others) do
    other.content = fields_of(g, other.id)
    other.key = other.content and key_of(other.content) or ''
    keys[n] = other.key
  end
  look_up(g, holders, keys)
  for _, other in ipairs(others) do
    local holder = holders[other.key]
    if holder and holder.member ~= member or not holder and is_waiting(g, other.key) then
      parked[#parked + 1] = other.id
      places[#places + 1] = 0
      places[#places + 1] = place_of_parked(other.key, other.id)
      announce(g, other.key, string.match(other.id, '^%d+'), holder and holder.member)
      if holder then look_after(g, holder.member) end
    else
      fresh[#fresh + 1] = other
      ids[#fresh] = other.id
      answer[#answer + 1] = {other.id, other.attempt, other.content}
    end
  end
  hand_out(g, holders, member, fresh)
  for _, other in ipairs(fresh) do claim(g, member, {other.id}, 'JUSTID', 'RETRYCOUNT', other.attempt) end
  if #parked > 0 then
    bulk('ZADD', g.wait, places)
    claim(g, PARKED, parked, 'JUSTID')
  end
end
table.sort(answer, function(a, b) return is_before(a[1], b[1]) end)
remember(g, 'r', member, call, answer)
redis.call('ZADD', g.seen, now, member)
return {name, 1, answer}
