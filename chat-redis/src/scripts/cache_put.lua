-- Keeps values in one shard of a scope. All at once.
-- KEYS: life, list, then the place of each value, then where those stand that stand apart, in their order.
-- ARGV: 3 the generation a fill needs (8 bytes), or nothing for a put that replaces whatever is there; then five for
--   each value: its key, its time to live in ms, its writer (8 bytes), `i` or `a`, and the value, unless it stands
--   apart already.
-- Result: 1 or 0 for each value, whether it was kept; nothing if the shard has no generation yet.
-- Repeated: a value that this writer put before was kept.
if not life then
  return false
end
local begun = ARGV[3]
local is_fill = begun ~= ''

-- When eight more are in the list, the new one looks at the sixteen that follow it, and strikes out what Redis forgot by
-- itself: the list stays within a small multiple of what there is, also if nobody ever reads it.
local function tidy(name)
  local others = redis.call('ZRANGEBYLEX', KEYS[2], '(' .. name, '+', 'LIMIT', 0, 16)
  if #others < 16 then
    local first = redis.call('ZRANGEBYLEX', KEYS[2], '-', '(' .. name, 'LIMIT', 0, 16 - #others)
    for _, other in ipairs(first) do
      others[#others + 1] = other
    end
  end
  for _, other in ipairs(others) do
    if try('EXISTS', place_of(other)) == 0 then
      redis.call('ZREM', KEYS[2], other)
    end
  end
end

-- Whoever has just seen the record that is replaced fetches its value in time.
local function replaced(key, record)
  if record:sub(1, 1) == 'a' then
    try('PEXPIRE', apart(key, writer(record)), 1000)
  end
end

local kept, longest, is_new_list = {}, 0, false
local count = (#ARGV - 3) / 5
local next_apart = count + 3
for nth = 3, count + 2 do
  local key, at = KEYS[nth], 5 * nth - 11
  local name, ttl, id, kind = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local deadline = now + ttl
  local record = kind .. generation .. bytes(deadline) .. id .. ARGV[at + 4]
  local old, is_kept, stands
  if kind == 'a' then
    stands, next_apart = KEYS[next_apart], next_apart + 1
  end
  if not is_fill and kind == 'i' then
    old = head(redis.call('SET', key, record, 'PX', ttl + rubbish, 'GET') or '')
    is_kept = true
    replaced(key, old)
  else
    old = head_of(key)
    if is_value(old) and writer(old) == id then
      is_kept, deadline = true, 0
    elseif is_fill and (begun ~= generation or lives(old) or is_fenced(old)) then
      is_kept = false
    else
      is_kept = kind == 'i' or redis.call('EXISTS', stands) == 1
      if is_kept then
        redis.call('SET', key, record, 'PX', ttl + rubbish)
        replaced(key, old)
      end
    end
    if stands and not is_kept then
      redis.call('UNLINK', stands)
    end
  end
  if is_kept then
    longest = math.max(longest, deadline)
    if not lives(old) and redis.call('ZADD', KEYS[2], 0, name) == 1 then
      local listed = redis.call('ZCARD', KEYS[2])
      is_new_list = is_new_list or listed == 1
      if listed % 8 == 0 then
        tidy(name)
      end
    end
  end
  kept[#kept + 1] = is_kept and 1 or 0
end
if is_new_list then
  life = generation .. bytes(0)
end
if longest > 0 then
  keep_list(longest)
end
return kept
