-- KEYS: a conversation. ARGV: the user, by how much, the key of this adjustment. At once. Answers as `look` does.
local key, user, by, name = KEYS[1], ARGV[1], ARGV[2], 'k' .. ARGV[3]
local c, readers = open(key, { user })
local r = readers[1]
if r.epoch == '-' then return false end
local adjustments = adjustments_of(key, user)
if r.adjusted == '0' then
  redis.call('DEL', adjustments)
  r.adjusted = '1'
end
if redis.call('HSETNX', adjustments, name, '') == 1 then
  local sum = redis.pcall('HINCRBY', adjustments, 'by', by)
  if type(sum) == 'table' then
    local most = string.sub(by, 1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
    redis.call('HSET', adjustments, 'by', most)
  end
  local newest = redis.call('HINCRBY', adjustments, 'newest', 1)
  redis.call('HSET', adjustments, 'n' .. newest, name)
  if newest > KEPT_ADJUSTMENTS then
    local oldest = 'n' .. (newest - KEPT_ADJUSTMENTS)
    redis.call('HDEL', adjustments, redis.call('HGET', adjustments, oldest), oldest)
  end
  redis.call('EXPIRE', adjustments, IDLE)
end
save(key, c, readers)
return look(key, user, c.text, r.text)
