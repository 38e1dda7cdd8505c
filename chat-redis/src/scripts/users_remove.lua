-- Forgets profiles of one shard, and remembers that. All at once.
-- KEYS: index, then the place of each profile.
-- ARGV: 4 and on, two for each: the user, when it was removed plus one.
-- Result: how many there were.
for nth = 2, #KEYS do
  local key, at = KEYS[nth], 2 * nth
  local id = ARGV[at]
  local there, before = known(key)
  local removed = math.max(before, tonumber(ARGV[at + 1]))
  if there and there >= removed then
    redis.call('SETRANGE', key, 17, bytes(removed))
    redis.call('PEXPIRE', key, ttl + rubbish)
  else
    redis.call('SET', key, version .. bytes(0) .. bytes(0) .. bytes(removed), 'PX', ttl + rubbish)
    redis.call('ZREM', KEYS[1], id)
  end
end
return #KEYS - 1
