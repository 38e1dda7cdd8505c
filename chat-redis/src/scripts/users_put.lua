-- Keeps profiles of one shard, unless they are older than what is known. All at once.
-- KEYS: index, then the place of each profile.
-- ARGV: 4 and on, three for each: the user, when it was updated, the profile as JSON.
-- Result: 1 or 0 for each, whether it was kept.
local kept = {}
for nth = 2, #KEYS do
  local key, at = KEYS[nth], 3 * nth - 2
  local id, updated = ARGV[at], tonumber(ARGV[at + 1])
  local there, removed = known(key)
  local is_kept = updated >= removed and not (there and updated < there)
  if is_kept then
    local record = version .. bytes(updated) .. bytes(now + ttl) .. bytes(removed) .. ARGV[at + 2]
    redis.call('SET', key, record, 'PX', ttl + rubbish)
    redis.call('ZADD', KEYS[1], now + ttl, id)
  end
  kept[#kept + 1] = is_kept and 1 or 0
end
-- Of those whose time has passed some leave with everyone who comes.
local over = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 2 * #kept)
for _, id in ipairs(over) do
  redis.call('ZREM', KEYS[1], id)
end
redis.call('PEXPIRE', KEYS[1], ttl + rubbish)
return kept
