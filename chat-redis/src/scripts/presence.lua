-- Begins every script of presence. KEYS[1] is the shard's index, `prefix:p:{tag}:i`; KEYS[2] is where the answer to this
-- call is kept, or a key that never is. While a slot moves, that one is missing, so that a cluster refuses the whole script
-- until it has moved, and nothing is done by halves. Every other key is built beside them, in their slot, from ids encoded
-- as in keys.rs; see presence/mod.rs for what they hold.
local index = KEYS[1]
local base = string.sub(index, 1, -2)
local counts, listing = base .. 'n', base .. 'l'
-- The last millisecond there is: 9999-12-30.
local LAST = 253402207200000
-- An answer that is handed out once is kept for as long as the same call may be repeated: 30 s.
local ANSWERS = 30000

local function key_of(kind, id)
  if string.find(id, '[%%:{}]') then
    id = string.gsub(id, '[%%:{}]', {['%'] = '%25', [':'] = '%3A', ['{'] = '%7B', ['}'] = '%7D'})
  end
  return base .. kind .. ':' .. id
end

-- A time as text: Lua's own form has 14 digits.
local function text(time)
  return string.format('%.0f', time)
end

-- As what an announced user is counted, by its record alone; nothing is online.
local function counted(chosen, idle)
  return chosen or (idle and 'away')
end

local function recount(before, after)
  if before ~= after then
    if before then redis.call('HINCRBY', counts, before, -1) end
    if after then redis.call('HINCRBY', counts, after, 1) end
  end
end

-- Whether a chosen status that was read from a record is over.
local function is_over(chosen, chosen_until)
  return chosen and chosen_until and tonumber(chosen_until) <= now
end

-- A record outlives the sessions by 30 days; what somebody chose stays until it is over, and longer than that.
local function retain(record, chosen, chosen_until, visibility)
  if visibility or (chosen and not chosen_until) then
    redis.call('PERSIST', record)
  else
    local left = chosen and math.max(0, chosen_until - now) or 0
    redis.call('PEXPIRE', record, 2592000000 + left)
  end
end
