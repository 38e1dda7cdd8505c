-- Claims a name for an owner.
-- KEYS: the claim: its end (8 bytes, ms; 0 when it was given up), who gave it up last (8 bytes), its owner.
-- ARGV: 2 the owner; 3 the time to live in ms; 4 for how long Redis keeps it, in ms.
-- Result: 1 if the owner has it now, else 0.
local claim = redis.call('GET', KEYS[1])
if claim and #claim < 16 then
  return redis.error_reply('WRONGTYPE not a claim')
end
if claim and struct.unpack('>I8', claim) > now and claim:sub(17) ~= ARGV[2] then
  return 0
end
local last = claim and claim:sub(9, 16) or struct.pack('>I8', 0)
redis.call('SET', KEYS[1], struct.pack('>I8', now + tonumber(ARGV[3])) .. last .. ARGV[2], 'PX', ARGV[4])
return 1
