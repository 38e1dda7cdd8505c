-- KEYS: conversations. ARGV: a user. At once for all of them; changes nothing. Answers for each: see `look`.
local field, counts = 'r' .. ARGV[1], {}
for i, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 'c', field)
  counts[i] = found[1] and found[2] and look(key, ARGV[1], found[1], found[2])
end
return counts
