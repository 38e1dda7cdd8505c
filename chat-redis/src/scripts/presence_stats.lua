-- Counts a shard. What is kept are counts of all who were announced; whoever's bound has passed is looked at, no more than
-- 256 at a time, and corrects them. A bound that had passed though nothing ran out is raised.
--
-- Keys: the shard's index, none. Arguments: how many of those who ran out were looked at before.
-- Result: {1 when somebody is left to look at, of how many that ran out, users announced, the lowest bound or -1, sessions
-- beyond each user's first, away, dnd, invisible, sessions closed, how long they lasted in ms, sessions begun within the
-- hour; and as corrections: sessions, users online, away, dnd, invisible}.
local seen, raised = tonumber(ARGV[2]), {}
local off = {sessions = 0, online = 0, away = 0, dnd = 0, invisible = 0}
local at_now = text(now)
local due = redis.call('ZRANGEBYSCORE', index, '-inf', at_now, 'LIMIT', seen, 256)
for _, user in ipairs(due) do
  local leases, record = key_of('u', user), key_of('h', user)
  local held = redis.call('ZCARD', leases)
  local live = redis.call('ZCOUNT', leases, '(' .. at_now, '+inf')
  local chosen, chosen_until, idle = unpack(redis.call('HMGET', record, 'chosen', 'until', 'idle'))
  local over = is_over(chosen, chosen_until)
  if live == held and held > 0 and not over then
    local bound = tonumber(redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2])
    raised[#raised + 1] = chosen and chosen_until and math.min(bound, tonumber(chosen_until)) or bound
    raised[#raised + 1] = user
  else
    seen = seen + 1
    off.sessions = off.sessions + live - math.max(held, 1)
    local as, is = counted(chosen, idle) or 'online', counted(not over and chosen, idle) or 'online'
    off[as] = off[as] - 1
    if live > 0 then off[is] = off[is] + 1 end
  end
end
if #raised > 0 then redis.call('ZADD', index, unpack(raised)) end

local function number(value)
  return tonumber(value or 0)
end
local kept = redis.call('HMGET', counts, 'extra', 'away', 'dnd', 'invisible', 'closed', 'closed_ms')
local recent, minute, minutes = 0, math.floor(now / 60000), redis.call('HGETALL', base .. 'b')
for at = 1, #minutes, 2 do
  local begun = tonumber(minutes[at])
  if begun > minute - 60 and begun <= minute then recent = recent + minutes[at + 1] end
end
forget_minutes()
local lowest = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
return {
  #due == 256 and 1 or 0, seen, redis.call('ZCARD', index), tonumber(lowest or -1),
  number(kept[1]), number(kept[2]), number(kept[3]), number(kept[4]), number(kept[5]), number(kept[6]), recent,
  off.sessions, off.online, off.away, off.dnd, off.invisible,
}
