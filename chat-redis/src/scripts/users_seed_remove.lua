-- Forgets a profile in seed 002's hash, and remembers that. All at once.
-- KEYS: hash, beside.
-- ARGV: 4 when it was removed plus one.
-- Result: 1 if it is gone, 0 if it is newer.
local when = math.max(removed, tonumber(ARGV[4]))
if there and there >= when then
  remember(ours, ends, when)
  return 0
end
redis.call('DEL', KEYS[1])
remember(0, 0, when)
return 1
