-- Begins every script of this crate: one stream and what stands beside it, all in one slot.
-- KEYS: the stream; what the names of its side keys begin with.
-- ARGV: the time; a name for another life of the stream, should one begin.
local stream, beside = KEYS[1], KEYS[2]

-- How long the newer event ids are gathered before they are the older ones.
local WINDOW = 600000
-- How many entries one call trims at most.
local STEP = 10000
-- How many arguments a command takes at once.
local CHUNK = 4000

local function whole(number) return string.format('%.0f', number) end

-- A flat reply by name.
local function named(flat)
  local fields = {}
  for n = 1, #flat, 2 do fields[flat[n]] = flat[n + 1] end
  return fields
end

-- One command over any number of arguments. Answers that are lists are joined.
local function bulk(command, key, arguments)
  local joined = {}
  for from = 1, #arguments, CHUNK do
    local answer = redis.call(command, key, unpack(arguments, from, math.min(from + CHUNK - 1, #arguments)))
    if type(answer) == 'table' then
      for n = 1, #answer do joined[from + n - 1] = answer[n] end
    end
  end
  return joined
end

-- Entry ids are two unsigned 64-bit numbers, more than a number of Lua holds.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms == b_ms then a_ms, b_ms = a_seq, b_seq end
  return #a_ms < #b_ms or (#a_ms == #b_ms and a_ms < b_ms)
end

-- The event ids of lately, and those of before. Who repeats is known for a window at least, whatever the clock does.
local NEW_IDS, OLD_IDS = beside .. 'ids:new', beside .. 'ids:old'
-- Since when the newer ones are gathered; no event has this id.
local SINCE = '\1since'

-- Another life: what was remembered of the last one means nothing any more.
local function begin_life()
  redis.call('DEL', NEW_IDS, OLD_IDS, beside .. 'trim')
  redis.call('SET', beside .. 'life', ARGV[2])
  return ARGV[2]
end

-- The life of the stream. Another one begins when there is no stream.
local function life()
  local known = redis.call('GET', beside .. 'life')
  if known and redis.call('EXISTS', stream) == 1 then return known end
  return begin_life()
end

-- The same, and makes the stream.
local function make()
  local name = life()
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, 'made', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', stream, 'made')
  end
  return name
end

-- How far a stream may grow beyond `max` before it is trimmed.
local function slack(max) return math.max(100, math.floor(max / 10)) end

-- The oldest entry that a group needs: the oldest it has not acknowledged, else the last it was given.
local function needed_by_groups(registered_only)
  local least
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = named(flat)
    if not registered_only or redis.call('SISMEMBER', beside .. 'groups', group.name) == 1 then
      local needed = group['last-delivered-id']
      if group.pending > 0 then
        local oldest = redis.call('XPENDING', stream, group.name)[2]
        if is_before(oldest, needed) then needed = oldest end
      end
      if not least or is_before(needed, least) then least = needed end
    end
  end
  return least
end

-- Drops the oldest entries above `max` that no group needs, by whole nodes; says how many entries are left. What it
-- could not drop is tried again when the stream has grown further.
local function trim(length, max, registered_only)
  local limit = math.min(length - max, STEP)
  if limit > 0 then
    local needed = needed_by_groups(registered_only)
    if needed then
      length = length - redis.call('XTRIM', stream, 'MINID', '~', needed, 'LIMIT', limit)
    else
      length = length - redis.call('XTRIM', stream, 'MAXLEN', '~', max, 'LIMIT', limit)
    end
    redis.call('SET', beside .. 'trim', length + slack(max))
  end
  return length
end
