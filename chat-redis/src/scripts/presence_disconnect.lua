-- Ends a session.
--
-- Keys: the shard's index, the answer. Arguments: user, session.
-- Result: {edge, users announced in the shard}. The edge is `-` for none, or `off`.
-- Atomic. Repeated with the same key for its answer it changes nothing and answers the same.
local user, session = ARGV[2], ARGV[3]
local leases, record = key_of('u', user), key_of('h', user)

local edge = answered()
if not edge then
  local deadline = redis.call('ZSCORE', leases, session)
  if deadline then
    redis.call('ZREM', leases, session)
    local ended = {session, deadline}
    local last = tonumber(redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')[2])
    if last and last > now then
      edge = '-'
      take_out(record, ended)
      redis.call('HINCRBY', counts, 'extra', -1)
    else
      edge = 'off'
      if last then
        for _, lapsed in ipairs(redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')) do
          ended[#ended + 1] = lapsed
        end
        redis.call('DEL', leases)
      end
      take_out(record, ended)
      goes_offline(user, record, #ended / 2)
    end
    remember(edge)
  end
end
return {edge or '-', redis.call('ZCARD', index)}
