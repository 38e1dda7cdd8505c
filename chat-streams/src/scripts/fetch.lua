-- Gives a member entries nobody in the group has had: what waited for its key first, then what is new.
-- ARGV from 3: the group; the member; what orders entries without an envelope; how many entries at most; the name of this
-- call; when a native read was not heard, the name of its spell, and the last entry that was heard in it if any was; '1' when
-- a spell may begin.
-- Result: the life; 1 unless this was all there is for the member; the entries, each its id, which attempt this is, and its
-- payload or all its fields or nothing when they are gone; when there were none or a spell begins, behind which entry of the
-- stream and behind which of the wake stream the next thing will be; when a spell begins, its name: from now on the member
-- is the sole one, and reads natively.
-- Atomic. Repeated under the same name: the same entries. What was read natively and not heard comes before anything else.
local g, member, max, call = open(ARGV[3]), ARGV[4], tonumber(ARGV[6]), ARGV[7]
local unheard, heard = ARGV[8], ARGV[9]
-- How many new entries are looked at when others hold their keys.
local LOOK = 1024

local name = redis.call('GET', beside .. 'life') or begin_life()
end_spell(g)

-- The answer, and with it another spell if nobody else asks.
local function answer_with(more, entries, drained)
  local newest, freed, spell = false, false, false
  if ARGV[10] == '1' and begin_spell(g, member, ARGV[2]) then
    newest, spell = delivered(g), ARGV[2]
  elseif drained then
    newest = named(redis.call('XINFO', 'STREAM', stream))['last-generated-id']
  end
  if newest then
    local last = redis.call('XREVRANGE', g.wake, '+', '-', 'COUNT', 1)[1]
    freed = last and last[1] or '0-0'
  end
  return {name, more, entries, newest, freed, spell}
end

-- What was read in a spell after the entry that was heard last.
local function not_heard()
  local read = unheard ~= '' and repeated(g, 's', member, unheard)
  if not read then return nil end
  local last, rest = delivered(g), {}
  -- In a group that somebody rewound, what comes after it was before it.
  local all = heard == '' or not last or is_before(last, heard)
  for _, entry in ipairs(read) do
    if all or is_before(heard, entry[1]) then rest[#rest + 1] = entry end
  end
  if #rest == 0 then return nil end
  remember(g, 'f', member, call, rest)
  return rest
end

local again = repeated(g, 'f', member, call) or not_heard()
if again then return answer_with(1, again) end

local given, holders = {}, {}
-- Somebody deleted the group: what was found until here is forgotten.
local function begin_anew()
  name, given, holders = life(), {}, {}
  register_again(g)
end
local function give(id, key, attempt, content)
  given[#given + 1] = {id = id, key = key, attempt = attempt, content = content}
end

-- The key whose waiting entry is the next, and the list it is on.
local function next_key()
  local free = redis.call('ZRANGE', g.free, 0, 0, 'WITHSCORES')
  local own = redis.call('ZRANGE', mine(g, member), 0, 0, 'WITHSCORES')
  if free[1] and not (own[1] and tonumber(own[2]) <= tonumber(free[2])) then return free[1], g.free end
  return own[1], mine(g, member)
end

while #given < max do
  local key, list = next_key()
  if not key then break end
  local left, from = max - #given, place(key)
  local texts = redis.call('ZRANGEBYLEX', g.wait, '[' .. from .. '0', '(' .. from .. '2', 'LIMIT', 0, left + 1)
  local taken, parked, rest = {}, {}, nil
  for n, text in ipairs(texts) do
    local entry = waiting(key, text)
    -- Of other keys a letter may come before what is parked of this one.
    if n > left or (taken[1] and taken[1].letter ~= entry.letter) then
      rest = entry
      break
    end
    taken[n] = entry
    if not entry.letter then parked[#parked + 1] = entry.id end
    redis.call('ZREM', g.wait, text)
  end
  redis.call('ZREM', list, key)
  if rest then announce(g, key, rest.order, member) end
  local contents = claim(g, member, parked, 'RETRYCOUNT', 1)
  local is_there = contents
  for _, entry in ipairs(is_there and taken or {}) do
    if entry.letter then
      local letter = letter_of(g, entry.id)
      -- In a group that somebody rewound, its entry may have been handled meanwhile.
      if letter then
        local attempt = letter.attempts + 1
        is_there = is_there and claim(g, member, {entry.id}, 'RETRYCOUNT', attempt, 'FORCE', 'JUSTID')
        give(entry.id, key, attempt, letter.fields)
      end
    else
      give(entry.id, key, 1, contents[entry.id] or fields_of(g, entry.id))
    end
  end
  if not is_there then
    begin_anew()
    break
  end
end

local looked, drained = 0, false
while #given < max and looked < LOOK and not drained do
  local wanted = max - #given
  local function read()
    return redis.pcall('XREADGROUP', 'GROUP', g.name, member, 'COUNT', wanted, 'STREAMS', stream, '>')
  end
  local found = read()
  if is_unregistered(found) then
    begin_anew()
    found = read()
  end
  if found and found.err then error(found) end
  local entries = found and found[1][2] or {}
  looked = looked + #entries
  drained = #entries < wanted
  local keys, payloads = {}, {}
  for n, entry in ipairs(entries) do keys[n], payloads[n] = key_of(entry[2]) end
  look_up(g, holders, keys)
  local parked, places, owners = {}, {}, {}
  for n, entry in ipairs(entries) do
    local id, key = entry[1], keys[n]
    local holder = holders[key]
    if holder and holder.member ~= member then
      parked[#parked + 1] = id
      places[#places + 1] = 0
      places[#places + 1] = place_of_parked(key, id)
      announce(g, key, string.match(id, '^%d+'), holder.member)
      owners[holder.member] = true
    else
      give(id, key, 1, payloads[n] or entry[2])
    end
  end
  if #parked > 0 then
    bulk('ZADD', g.wait, places)
    claim(g, PARKED, parked, 'JUSTID')
    for owner in pairs(owners) do look_after(g, owner) end
  end
end

hand_out(g, holders, member, given)
local answer = {}
for n, entry in ipairs(given) do answer[n] = {entry.id, entry.attempt, entry.content} end
remember(g, 'f', member, call, answer)
return answer_with(drained and 0 or 1, answer, drained and #given == 0)
