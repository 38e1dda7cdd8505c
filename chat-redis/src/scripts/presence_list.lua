-- Lists users online in the order of their bytes, looking at no more than asked for.
--
-- Keys: the shard's index, none. Arguments: the user to begin after or nothing, how many.
-- Result: {1 when somebody may be left, the last user looked at or nothing, {user, user, ...}}
local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local users = redis.call('ZRANGEBYLEX', listing, from, '+', 'LIMIT', 0, ARGV[3])
if #users == 0 then return {0, '', {}} end
local found = {}
for nth, bound in ipairs(redis.call('ZMSCORE', index, unpack(users))) do
  if bound and (tonumber(bound) > now
      or redis.call('ZCOUNT', key_of('u', users[nth]), '(' .. text(now), '+inf') > 0) then
    found[#found + 1] = users[nth]
  end
end
return {#users == tonumber(ARGV[3]) and 1 or 0, users[#users], found}
