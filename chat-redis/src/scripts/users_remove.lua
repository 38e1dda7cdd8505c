-- Forgets profiles of one shard, and remembers that. All at once.
-- KEYS: index, then the place of each profile.
-- ARGV: 4 and on, two for each: the user, when it was removed plus one (8 bytes).
-- Result: how many there were.
for nth = 2, #KEYS do
  local key, at = KEYS[nth], 2 * nth
  local id, removed = ARGV[at], ARGV[at + 1]
  local there, before = known(key)
  if is_before(removed, before) then
    removed = before
  end
  if there and not is_before(there, removed) then
    redis.call('SETRANGE', key, 17, removed)
    redis.call('PEXPIRE', key, ttl + rubbish)
  else
    redis.call('SET', key, version .. never .. never .. removed, 'PX', ttl + rubbish)
    redis.call('ZREM', KEYS[1], id)
  end
end
return #KEYS - 1
