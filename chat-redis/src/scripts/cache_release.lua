-- Gives a claim up.
-- KEYS: the claim, as in `cache_claim.lua`.
-- ARGV: 2 the owner; 3 who asks (8 bytes); 4 for how long Redis remembers that, in ms.
-- Result: 1 if the owner had it, else 0.
-- Repeated: whoever gave it up last is told so again.
local claim = redis.call('GET', KEYS[1])
if not claim then
  return 0
end
if #claim < 16 then
  return redis.error_reply('WRONGTYPE not a claim')
end
if claim:sub(9, 16) == ARGV[3] then
  return 1
end
if struct.unpack('>I8', claim) <= now or claim:sub(17) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], struct.pack('>I8', 0) .. ARGV[3], 'PX', ARGV[4])
return 1
