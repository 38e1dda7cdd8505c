-- Registers a group and a member of it.
-- ARGV from 3: the group; the member; what orders entries without an envelope; '$' to begin with what comes, '0' with what is there.
-- Result: 1.
-- Atomic. Repeated: nothing changes.

-- A process that joins under the name of another took its place: it does not know what that one had, so it must not be given
-- what comes after it.
local function retire(g, member)
  local gone = former(member)
  local records, holds = redis.call('HGETALL', with(g, member)), {}
  if #records == 0 then return end
  bulk('HSET', with(g, gone), records)
  redis.call('DEL', with(g, member))
  for n = 2, #records, 2 do
    local key = recorded(records[n]).key
    local holder = holder_of(redis.call('HGET', g.hold, key))
    if holder and holder.member == member then
      redis.call('HSET', g.hold, key, holder.count .. ':' .. gone)
      local order = redis.call('ZSCORE', mine(g, member), key)
      if order then announce(g, key, order, gone) end
    end
  end
  redis.call('DEL', mine(g, member))
  local since = redis.call('ZSCORE', g.busy, member)
  redis.call('ZADD', g.busy, 'LT', since or now, gone)
  redis.call('ZREM', g.busy, member)
end

local g = open(ARGV[3])
life()
end_spell(g)
-- A group that is registered may have been deleted by somebody, with its stream or alone.
if redis.call('SISMEMBER', beside .. 'groups', g.name) == 1 then register_again(g) else register(g, ARGV[6]) end
retire(g, ARGV[4])
redis.call('ZADD', g.busy, 'NX', now, ARGV[4])
redis.call('ZADD', g.seen, now, ARGV[4])
return 1
