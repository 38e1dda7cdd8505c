-- Marks users idle who are online and have not been active for a while.
--
-- Keys: the shard's index, the answer. Arguments: for how many ms, users.
-- Result: of each 1 when it became idle by this, else 0.
-- Atomic. Repeated with the same key for its answer it answers the same.
local after, found, any = tonumber(ARGV[2]), {}, false
local known = answered()
if known then return cmsgpack.unpack(known) end

for nth = 3, #ARGV do
  local user, becomes = ARGV[nth], 0
  local record = key_of('h', user)
  local active, idle, chosen = unpack(redis.call('HMGET', record, 'active', 'idle', 'chosen'))
  local inactive = not active or math.max(0, now - active) >= after
  if inactive and not idle then
    local here = redis.call('ZCOUNT', key_of('u', user), '(' .. text(now), '+inf')
    if here > 0 then
      redis.call('HSET', record, 'idle', 1)
      recount(counted(chosen, false), counted(chosen, true))
      becomes, any = 1, true
    end
  end
  found[nth - 2] = becomes
end
if any then remember(cmsgpack.pack(found)) end
return found
