-- How the stream and its groups are.
-- Result: how many entries there are; how many bytes they take, about; how many dead letters; the groups, each its name, how
-- many members it had lately, how many entries it has not acknowledged, how old the oldest is that it has not acknowledged or
-- not read, in ms, or -1; how many it has not read if that is known.
-- Atomic.

-- Entries are named by the clock of the server, whatever clock else is used.
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)

local function oldest_of(group)
  if group.pending > 0 then return redis.call('XPENDING', stream, group.name)[2] end
  local unread = redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
  return unread and unread[1]
end

local groups, bytes = {}, 0
if redis.call('EXISTS', stream) == 1 then
  bytes = redis.call('MEMORY', 'USAGE', stream)
  for n, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = named(flat)
    local oldest = oldest_of(group)
    local age = oldest and math.max(clock - tonumber(string.match(oldest, '^%d+')), 0) or -1
    groups[n] = {group.name, group.consumers, group.pending, age, group.lag}
  end
end
return {redis.call('XLEN', stream), bytes, redis.call('XLEN', beside .. 'dead'), groups}
