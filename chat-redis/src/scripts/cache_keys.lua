-- Lists keys of one shard of a scope, and strikes out what is over. All at once.
-- KEYS: life, list.
-- ARGV: 3 and 4 the range, as ZRANGEBYLEX has it; 5 how many keys to look at.
-- Result: the last key looked at if there may be more, else nothing; then the keys found, in order.
if not life then
  return { '' }
end
local count = tonumber(ARGV[5])
local names = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[3], ARGV[4], 'LIMIT', 0, count)
local found = { #names == count and names[count] or '' }
for _, name in ipairs(names) do
  local key = place_of(name)
  local begins, why_not = try('GETRANGE', key, 0, 24)
  if not begins then
    return why_not
  end
  local record = head(begins)
  if lives(record) then
    found[#found + 1] = name
  else
    redis.call('ZREM', KEYS[2], name)
    if is_value(record) then
      try('UNLINK', key)
      release(key, record)
    end
  end
end
return found
