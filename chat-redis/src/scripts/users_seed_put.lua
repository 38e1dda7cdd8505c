-- Keeps a profile in seed 002's hash, unless it is older than what is known. All at once.
-- KEYS: hash, beside.
-- ARGV: 4 when it was updated; then its fields, each a name and a value.
-- Result: 1 if it was kept, else 0.
local updated = tonumber(ARGV[4])
if updated < removed or (there and updated < there) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ttl + rubbish)
remember(updated, now + ttl, removed)
return 1
