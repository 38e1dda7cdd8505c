-- Records activity now, and ends being idle.
--
-- Keys: the shard's index, the answer. Arguments: users.
-- Result: of each 1 when it was idle, else 0.
-- Atomic. Repeated with the same key for its answer it answers the same.
local found, any = {}, false
local known = answered()
if known then return cmsgpack.unpack(known) end

for nth = 2, #ARGV do
  local user, was = ARGV[nth], 0
  local leases, record = key_of('u', user), key_of('h', user)
  local active, idle, chosen, chosen_until, visibility =
    unpack(redis.call('HMGET', record, 'active', 'idle', 'chosen', 'until', 'visibility'))
  local before = tonumber(active) or -1
  if now > before then redis.call('HSET', record, 'active', text(now)) end
  -- Who is only touched, and never connects, is remembered from day to day.
  if now - before > 86400000 and redis.call('EXISTS', leases) == 0 then
    retain(record, chosen, chosen_until, visibility)
  end
  if idle then
    redis.call('HDEL', record, 'idle')
    recount(counted(chosen, idle), counted(chosen, false))
    if redis.call('ZCOUNT', leases, '(' .. text(now), '+inf') > 0 then
      was, any = 1, true
    end
  end
  found[nth - 1] = was
end
if any then remember(cmsgpack.pack(found)) end
return found
