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
local PARKED = '\1parked'
-- What a member had when it joined anew is with its former life, which never asks for more.
local function former(member) return member .. '\1former' end
local ESCAPES = {['%'] = '%25', [':'] = '%3A', ['{'] = '%7B', ['}'] = '%7D'}

local function open(name)
  local at = beside .. 'g:' .. string.gsub(name, '[%%:{}]', ESCAPES) .. ':'
  return {
    name = name, at = at, hold = at .. 'hold', busy = at .. 'busy', wait = at .. 'wait', free = at .. 'free',
    kept = at .. 'kept', last = at .. 'last', wake = at .. 'wake'
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

-- Writes down that `member` was given entries just now: a list of {id, key, attempt}.
local function hand_out(g, holders, member, entries)
  if #entries == 0 then return end
  local records, counts, held, keys = {}, {}, {}, {}
  local since = whole(now)
  for n, entry in ipairs(entries) do
    keys[n] = entry.key
    records[#records + 1] = entry.id
    records[#records + 1] = since .. ':' .. entry.attempt .. ':' .. entry.key
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

-- Takes entries off whoever has them, native list included; says which somebody had, and wakes who waits for their keys.
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
  for from = 1, #found, CHUNK do
    redis.call('XACK', stream, g.name, unpack(found, from, math.min(from + CHUNK - 1, #found)))
  end
  if #found > 0 and redis.call('EXISTS', g.kept) == 1 then bulk('HDEL', g.kept, found) end
  return found
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
  local keys = {g.hold, g.busy, g.wait, g.free, g.last}
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
