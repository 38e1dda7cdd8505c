-- How the stream and its groups are.
-- Result: how many entries there are; how many dead letters; the groups, each its name, how many members it had lately, how
-- many entries it has not acknowledged, how many it has not read if that is known.
-- Atomic.
local groups = {}
if redis.call('EXISTS', stream) == 1 then
  for n, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = named(flat)
    groups[n] = {group.name, group.consumers, group.pending, group.lag}
  end
end
return {redis.call('XLEN', stream), redis.call('XLEN', beside .. 'dead'), groups}
