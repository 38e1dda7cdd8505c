-- Renews values in one shard of a scope. All at once.
-- KEYS: life, list, then the place of each value.
-- ARGV: 3 the remaining time to live in ms.
-- Result: 1 or 0 for each value, whether it was there.
local ttl = tonumber(ARGV[3])
local found, any = {}, false
for nth = 3, #KEYS do
  local key = KEYS[nth]
  local record = head_of(key)
  local is_there = lives(record)
  if is_there then
    if record:sub(1, 1) == 'a' then
      local renewed, why_not = try('PEXPIRE', apart(key, writer(record)), ttl + rubbish)
      if not renewed then
        return why_not
      end
    end
    redis.call('SETRANGE', key, 9, bytes(now + ttl))
    redis.call('PEXPIRE', key, ttl + rubbish)
    any = true
  else
    bury(key, record)
  end
  found[#found + 1] = is_there and 1 or 0
end
if any then
  keep_list(now + ttl)
end
return found
