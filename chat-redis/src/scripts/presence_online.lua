-- Says who is online.
--
-- Keys: the shard's index, none. Arguments: users.
-- Result: of each 1 when online, else 0.
local users, online = {unpack(ARGV, 2)}, {}
for nth, bound in ipairs(redis.call('ZMSCORE', index, unpack(users))) do
  local here = bound and (tonumber(bound) > now
    or redis.call('ZCOUNT', key_of('u', users[nth]), '(' .. text(now), '+inf') > 0)
  online[nth] = here and 1 or 0
end
return online
