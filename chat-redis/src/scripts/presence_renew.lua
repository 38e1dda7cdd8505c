-- Renews leases. Unlike a heartbeat's single command it may also shorten them.
--
-- Keys: the shard's index, none. Arguments: lease in ms, then user and session in turn.
-- Result: of each 1 when it lives, 0 when it is gone.
-- Atomic, and repeats harmlessly.
local deadline = math.min(now + tonumber(ARGV[2]), LAST)
-- Redis writes a number out each time it is handed over.
local till, renewed = text(deadline), {}
for at = 3, #ARGV, 2 do
  local user, session = ARGV[at], ARGV[at + 1]
  local leases, alive = key_of('u', user), 1
  if redis.call('ZADD', leases, 'XX', 'GT', 'CH', till, session) == 0 then
    local held = tonumber(redis.call('ZSCORE', leases, session))
    if not held then
      alive = 0
    elseif held > deadline then
      redis.call('ZADD', leases, till, session)
      redis.call('ZADD', index, 'LT', till, user)
    end
  end
  renewed[#renewed + 1] = alive
end
return renewed
