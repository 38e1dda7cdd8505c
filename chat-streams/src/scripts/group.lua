-- One consumer group of the stream.
--
-- While a member has entries of a key, it holds the key: nobody else is given an entry of it. An entry whose key another
-- member holds is parked: it waits in the order of its key, and in the native list of pending entries it is with PARKED.
-- A replayed dead letter waits the same way, before what is parked. Below `g:<group>:` there is
--   hold         hash  key -> how many entries its holder has, the holder
--   with:<m>     hash  entry -> since when member m has it, which attempt this is, its key; a member that joins anew leaves
--                what it had to its former life
--   busy         zset  member -> no entry it has was handed out before
--   wait         zset  what waits, by key and then by order
--   free         zset  key nobody holds that has waiting entries -> the order of the first
--   mine:<m>     zset  the same for keys that member m holds
--   kept         hash  entry -> a replayed letter, whole, until it is acknowledged
--   last         hash  what the last calls of a member were answered
--   wake         stream whose newest entry says when something began to be free
--   seen         zset  member -> when it asked, of lately
--   sole         hash  the sole member, which reads natively, and the name of its spell
--   spell:<name> stream without entries, which is there while the spell lasts
--   noted        list  where time is injected: up to which entry the sole member had read, and when
local PARKED = '\1parked'
-- What a member had when it joined anew is with its former life, which never asks for more.
local function former(member) return member .. '\1former' end
local ESCAPES = {['%'] = '%25', [':'] = '%3A', ['{'] = '%7B', ['}'] = '%7D'}

local function open(name)
  local at = beside .. 'g:' .. string.gsub(name, '[%%:{}]', ESCAPES) .. ':'
  return {
    name = name, at = at, hold = at .. 'hold', busy = at .. 'busy', wait = at .. 'wait', free = at .. 'free',
    kept = at .. 'kept', last = at .. 'last', wake = at .. 'wake', seen = at .. 'seen', sole = at .. 'sole',
    noted = at .. 'noted'
  }
end

local function with(g, member) return g.at .. 'with:' .. member end
local function mine(g, member) return g.at .. 'mine:' .. member end

-- Waiting entries

-- What waits for a key begins with this: no key's is the beginning of another's.
local function place(key) return #key .. ':' .. key end
local function padded(digits, width) return string.rep('0', width - #digits) .. digits end

-- Replayed letters come first, in the order they were replayed; then what is parked, in the order of the stream.
local function place_of_letter(key, ordinal, id) return place(key) .. '0' .. padded(ordinal, 20) .. ' ' .. id end
local function place_of_parked(key, id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return place(key) .. '1' .. padded(ms, 20) .. padded(seq, 20) .. ' ' .. id
end

local function is_waiting(g, key)
  local from = place(key)
  return redis.call('ZRANGEBYLEX', g.wait, '[' .. from .. '0', '(' .. from .. '2', 'LIMIT', 0, 1)[1] and true
end

-- A waiting entry: its id, whether it is a replayed letter, and its order among the keys.
local function waiting(key, text)
  local rest = string.sub(text, #place(key) + 1)
  return {
    id = string.match(rest, ' (%S+)$'), key = key, letter = string.sub(rest, 1, 1) == '0',
    order = string.sub(rest, 2, 21), text = text
  }
end

-- Says that something waits for a key: to its holder, or to all.
local function announce(g, key, order, holder)
  redis.call('ZADD', holder and mine(g, holder) or g.free, 'LT', order, key)
end

local function wake(g) redis.call('XADD', g.wake, 'MAXLEN', 1, '*', 'free', '1') end

-- Redis searches a small hash from its beginning, until one value in it is long: 65 bytes.
local LONG = string.rep(' ', 64)

-- Holders

-- What somebody waits for is looked after: should its holder turn out to have nothing, `reclaim` sets it free.
local function look_after(g, holder) redis.call('ZADD', g.busy, 'NX', now, holder) end

-- A member that has nothing holds nothing: what waits for its keys is free.
local function set_free(g, owner)
  local list = redis.call('ZRANGE', mine(g, owner), 0, -1, 'WITHSCORES')
  if #list == 0 then return end
  redis.call('DEL', mine(g, owner))
  for n = 1, #list, 2 do
    local held = redis.call('HGET', g.hold, list[n])
    local holder = held and string.match(held, '^ *%d+:(.*)$')
    if holder == owner then
      redis.call('HDEL', g.hold, list[n])
      holder = nil
    end
    announce(g, list[n], list[n + 1], holder)
  end
  wake(g)
end

local function holder_of(value)
  if not value then return nil end
  local count, member = string.match(value, '^ *(%d+):(.*)$')
  return {count = tonumber(count), member = member}
end

-- Who holds these keys; adds what is not known yet to `holders`.
local function look_up(g, holders, keys)
  local unknown, asked = {}, {}
  for _, key in ipairs(keys) do
    if holders[key] == nil and not asked[key] then
      asked[key] = true
      unknown[#unknown + 1] = key
    end
  end
  local found = bulk('HMGET', g.hold, unknown)
  for n, key in ipairs(unknown) do holders[key] = holder_of(found[n]) or false end
end

-- Writes down that `member` was given entries just now, or since when: a list of {id, key, attempt, given_at}.
local function hand_out(g, holders, member, entries)
  if #entries == 0 then return end
  local records, counts, held, keys = {}, {}, {}, {}
  local since = whole(now)
  for n, entry in ipairs(entries) do
    keys[n] = entry.key
    records[#records + 1] = entry.id
    records[#records + 1] = (entry.given_at or since) .. ':' .. entry.attempt .. ':' .. entry.key
    counts[entry.key] = (counts[entry.key] or 0) + 1
  end
  look_up(g, holders, keys)
  for key, count in pairs(counts) do
    held[#held + 1] = key
    held[#held + 1] = (holders[key] and holders[key].count or 0) + count .. ':' .. member
  end
  records[2], held[2] = LONG .. records[2], LONG .. held[2]
  bulk('HSET', with(g, member), records)
  bulk('HSET', g.hold, held)
  redis.call('ZADD', g.busy, 'NX', now, member)
end

-- What a record says.
local function recorded(record)
  local since, attempt, key = string.match(record, '^ *(%d+):(%d+):(.*)$')
  return {since = tonumber(since), attempt = tonumber(attempt), key = key}
end

-- Takes entries off the native list; says how many were there.
local function cross_out(g, ids, first)
  local count = 0
  for from = first, #ids, CHUNK do
    count = count + redis.call('XACK', stream, g.name, unpack(ids, from, math.min(from + CHUNK - 1, #ids)))
  end
  return count
end

-- Takes entries off whoever has them, native list included; says how many somebody had, and wakes who waits for their keys.
local function let_go(g, member, ids)
  local found, open_ids, seen = {}, {}, {}
  for _, id in ipairs(ids) do
    if not seen[id] then
      seen[id] = true
      open_ids[#open_ids + 1] = id
    end
  end
  local function take_from(owner)
    local records, gone, counts, still = bulk('HMGET', with(g, owner), open_ids), {}, {}, {}
    for n, id in ipairs(open_ids) do
      if records[n] then
        local key = recorded(records[n]).key
        gone[#gone + 1] = id
        found[#found + 1] = id
        counts[key] = (counts[key] or 0) + 1
      else
        still[#still + 1] = id
      end
    end
    open_ids = still
    if #gone == 0 then return end
    bulk('HDEL', with(g, owner), gone)
    local keys, holders, left, free = {}, {}, {}, {}
    for key in pairs(counts) do keys[#keys + 1] = key end
    look_up(g, holders, keys)
    for _, key in ipairs(keys) do
      local count = (holders[key] and holders[key].count or 0) - counts[key]
      if count > 0 then
        left[#left + 1] = key
        left[#left + 1] = count .. ':' .. owner
      else
        free[#free + 1] = key
      end
    end
    bulk('HSET', g.hold, left)
    bulk('HDEL', g.hold, free)
    if #free > 0 and redis.call('EXISTS', mine(g, owner)) == 1 then
      local freed = false
      for _, key in ipairs(free) do
        local order = redis.call('ZSCORE', mine(g, owner), key)
        if order then
          redis.call('ZREM', mine(g, owner), key)
          announce(g, key, order)
          freed = true
        end
      end
      if freed then wake(g) end
    end
  end
  take_from(member)
  if #open_ids > 0 then
    for _, other in ipairs(redis.call('ZRANGE', g.busy, 0, -1)) do
      if other ~= member and #open_ids > 0 then take_from(other) end
    end
  end
  cross_out(g, found, 1)
  if #found > 0 and redis.call('EXISTS', g.kept) == 1 then bulk('HDEL', g.kept, found) end
  -- What the sole member read is in the native list alone.
  if #open_ids > 0 and redis.call('EXISTS', g.sole) == 1 then return #found + cross_out(g, open_ids, 1) end
  return #found
end

-- Whether a command failed because somebody deleted the group, or the stream with it.
local function is_unregistered(answer)
  return type(answer) == 'table' and answer.err and string.find(answer.err, 'NOGROUP', 1, true) and true
end

-- Contents

local function letter_of(g, id)
  local packed = redis.call('HGET', g.kept, id)
  return packed and cmsgpack.unpack(packed)
end

-- The fields of an entry; false when they are gone.
local function fields_of(g, id)
  local letter = letter_of(g, id)
  if letter then return letter.fields end
  local found = redis.call('XRANGE', stream, id, id)[1]
  return found and found[2] or false
end

-- What is written down about an entry, whoever has it.
local function record_of(g, member, id)
  local record = redis.call('HGET', with(g, member), id)
  if not record then
    for _, other in ipairs(redis.call('ZRANGE', g.busy, 0, -1)) do
      record = record or redis.call('HGET', with(g, other), id)
    end
  end
  return record and recorded(record)
end

-- Makes `member` the native owner of entries; answers their fields by id, nothing when there is no such group any more. What
-- is gone is in nobody's list any more.
local function claim(g, member, ids, ...)
  local contents = {}
  for from = 1, #ids, CHUNK do
    local arguments = {stream, g.name, member, 0, unpack(ids, from, math.min(from + CHUNK - 1, #ids))}
    for _, option in ipairs({...}) do arguments[#arguments + 1] = option end
    local claimed = redis.pcall('XCLAIM', unpack(arguments))
    if is_unregistered(claimed) then return nil end
    if claimed.err then error(claimed) end
    for _, entry in ipairs(claimed) do
      if type(entry) == 'table' then contents[entry[1]] = entry[2] end
    end
  end
  return contents
end

-- Repeated calls

-- What the last call of this sort answered, when that call is repeated because its reply was lost.
local function repeated(g, sort, member, call)
  if redis.call('HGET', g.last, sort .. member) ~= call then return nil end
  local entries = {}
  for id in string.gmatch(redis.call('HGET', g.last, string.upper(sort) .. member) or '', '%S+') do
    local record = redis.call('HGET', with(g, member), id)
    if record then entries[#entries + 1] = {id, recorded(record).attempt, fields_of(g, id)} end
  end
  return entries
end

local function remember(g, sort, member, call, entries)
  if #entries == 0 then return end
  local ids = {}
  for n, entry in ipairs(entries) do ids[n] = entry[1] end
  redis.call('HSET', g.last, sort .. member, call, string.upper(sort) .. member, table.concat(ids, ' '))
end

-- A sole member

-- While one member alone asks, and nothing waits, it reads natively, and nothing is written down about what it has: it holds
-- every key. It reads the stream of its spell along with the other one. Whoever ends the spell deletes that stream, so a
-- native read that comes later fails before it takes anything.

-- For how long a member that asked is expected to ask again, in ms.
local LATELY = 30000
-- With how many entries a member begins no spell: it may have as many more when it ends.
local MANY = 10000
-- Of what the sole member has when its spell ends, the last one call can have read.
local ONE_READ = 1000

local function spell_of(g, spell) return g.at .. 'spell:' .. spell end

-- The sole member and the name of its spell.
local function sole_of(g)
  local found = redis.call('HMGET', g.sole, 'member', 'spell')
  return found[1] and {member = found[1], spell = found[2]}
end

-- The last entry that was read natively by anybody; nothing when there is no such group.
local function delivered(g)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, flat in ipairs(groups.err and {} or groups) do
    local group = named(flat)
    if group.name == g.name then return group['last-delivered-id'] end
  end
end

-- How many entries are with a member natively.
local function pending_count(g, member)
  local summary = redis.pcall('XPENDING', stream, g.name)
  for _, consumer in ipairs(not summary.err and summary[4] or {}) do
    if consumer[1] == member then return tonumber(consumer[2]) end
  end
  return 0
end

-- What is with a member natively, in the order of the stream: each its id, whose it is, for how many ms of the server, which
-- attempt this is.
local function pending_of(g, member)
  local all, from = {}, '-'
  repeat
    local some = redis.pcall('XPENDING', stream, g.name, from, '+', CHUNK, member)
    if is_unregistered(some) then return {} end
    if some.err then error(some) end
    for _, one in ipairs(some) do all[#all + 1] = one end
    if #some > 0 then from = '(' .. some[#some][1] end
  until #some < CHUNK
  return all
end

-- Writes down those of these pending entries that are not yet; answers which.
local function write_down(g, member, pending)
  local ids, entries, oldest = {}, {}, now
  for n, one in ipairs(pending) do ids[n] = one[1] end
  local known, noted, nth = bulk('HMGET', with(g, member), ids), {}, 1
  if ARGV[1] ~= '' then noted = redis.call('LRANGE', g.noted, 0, -1) end
  for n, one in ipairs(pending) do
    local id = one[1]
    if not known[n] then
      local since = now
      if ARGV[1] == '' then
        since = now - one[3]
      else
        while noted[nth] and is_before(string.match(noted[nth], '^%S+'), id) do nth = nth + 1 end
        if noted[nth] then since = math.min(tonumber(string.match(noted[nth], '%S+$')), now) end
      end
      if since < oldest then oldest = since end
      local found = redis.call('XRANGE', stream, id, id)[1]
      local key = found and key_of(found[2]) or ''
      entries[#entries + 1] = {id = id, key = key, attempt = one[4], given_at = whole(since)}
    end
  end
  hand_out(g, {}, member, entries)
  if #entries > 0 then redis.call('ZADD', g.busy, 'LT', whole(oldest), member) end
  return entries
end

-- The same for entries the sole member is said to have.
local function write_down_those(g, member, ids)
  local pending, known = {}, bulk('HMGET', with(g, member), ids)
  for n, id in ipairs(ids) do
    local one = not known[n] and redis.pcall('XPENDING', stream, g.name, id, id, 1, member)
    if one and not one.err and one[1] then pending[#pending + 1] = one[1] end
  end
  table.sort(pending, function(a, b) return is_before(a[1], b[1]) end)
  write_down(g, member, pending)
end

-- Ends the spell of the sole member, if there is one: what it has is written down, and the last of it as the answer to the
-- name of the spell. Takes as long as the sole member has entries.
local function end_spell(g)
  local sole = sole_of(g)
  if not sole then return end
  -- First what a server without memory lets happen: then the rest may, too.
  redis.call('DEL', spell_of(g, sole.spell))
  local last = {}
  local entries = write_down(g, sole.member, pending_of(g, sole.member))
  for n = math.max(#entries - ONE_READ, 0) + 1, #entries do last[#last + 1] = {entries[n].id} end
  remember(g, 's', sole.member, sole.spell, last)
  redis.call('ZADD', g.seen, now, sole.member)
  redis.call('DEL', g.sole, g.noted)
end

-- Begins one, unless somebody else asks, too, or anything is or waits elsewhere; says whether it did.
local function begin_spell(g, member, spell)
  redis.call('ZREMRANGEBYSCORE', g.seen, '-inf', '(' .. whole(now - LATELY))
  -- The clock went back.
  redis.call('ZREMRANGEBYSCORE', g.seen, '(' .. whole(now), '+inf')
  redis.call('ZADD', g.seen, now, member)
  if redis.call('ZCARD', g.seen) > 1 or redis.call('EXISTS', g.wait) == 1 then return false end
  for _, other in ipairs(redis.call('ZRANGE', g.busy, 0, -1)) do
    if other ~= member and redis.call('EXISTS', with(g, other)) == 1 then return false end
  end
  local has = redis.call('HLEN', with(g, member))
  -- A member of another program has the same name.
  if pending_count(g, member) > has or has > MANY then return false end
  if has == 0 then redis.call('DEL', g.hold) end
  local made = redis.pcall('XGROUP', 'CREATE', spell_of(g, spell), g.name, '$', 'MKSTREAM')
  if type(made) == 'table' and made.err then return false end
  redis.call('HSET', g.sole, 'member', member, 'spell', spell)
  return true
end

-- Registering

-- Makes the group, which is given what comes after `from`: '$' or '0'; says whether it was not there.
local function register(g, from)
  local known = redis.call('EXISTS', stream) == 1
  local read = 0
  if known then
    local info = named(redis.call('XINFO', 'STREAM', stream))
    read = info['entries-added'] - (from == '0' and info.length or 0)
  end
  local made = redis.pcall('XGROUP', 'CREATE', stream, g.name, from, 'MKSTREAM', 'ENTRIESREAD', read)
  local is_there = type(made) == 'table' and made.err
  if is_there and not string.find(made.err, 'BUSYGROUP', 1, true) then error(made) end
  redis.call('SADD', beside .. 'groups', g.name)
  return not is_there
end

-- Everything a group has beside the stream, but for replayed letters.
local function forget(g)
  local keys = {g.hold, g.busy, g.wait, g.free, g.last, g.seen, g.sole, g.noted}
  local sole = sole_of(g)
  if sole then keys[#keys + 1] = spell_of(g, sole.spell) end
  for _, member in ipairs(redis.call('ZRANGE', g.busy, 0, -1)) do
    keys[#keys + 1] = with(g, member)
    keys[#keys + 1] = mine(g, member)
  end
  redis.call('DEL', unpack(keys))
end

-- Somebody deleted the group, or the stream it was registered with: it is given all there is, unless it is there. Letters
-- that were replayed and not acknowledged are given again, unless their entries are.
local function register_again(g)
  if not register(g, '0') then return end
  forget(g)
  for _, id in ipairs(redis.call('HKEYS', g.kept)) do
    if redis.call('XRANGE', stream, id, id)[1] then
      redis.call('HDEL', g.kept, id)
    else
      local letter = letter_of(g, id)
      redis.call('ZADD', g.wait, 0, place_of_letter(letter.key, letter.ordinal, id))
      announce(g, letter.key, letter.ordinal)
    end
  end
end
