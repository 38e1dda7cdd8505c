-- Removes values of one shard of a scope, and keeps fills away. All at once.
-- KEYS: life, list, then the place of each value.
-- ARGV: 3 for how long fills are kept away, in ms; then two for each value: its key, and who removes it (8 bytes).
-- Result: 1 or 0 for each value, whether it was there.
-- Repeated: a removal says who took something away, and is only extended by those who find nothing.
local fence = tonumber(ARGV[3])
local nobody = bytes(0)
local found = {}
for nth = 3, #KEYS do
  local key, at = KEYS[nth], 2 * nth - 2
  local name, id = ARGV[at], ARGV[at + 1]
  local record = head_of(key)
  local was_there, by = lives(record), nobody
  if was_there then
    by = id
  elseif is_fenced(record) then
    by = writer(record)
    was_there = by == id
  end
  redis.call('SET', key, 'x' .. nobody .. bytes(now + fence) .. by, 'PX', fence + rubbish)
  if is_value(record) then
    redis.call('ZREM', KEYS[2], name)
    release(key, record)
  end
  found[#found + 1] = was_there and 1 or 0
end
return found
