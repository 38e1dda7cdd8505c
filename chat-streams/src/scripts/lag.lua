-- How far behind a group is.
-- ARGV from 3: the group.
-- Result: entries no member has had; entries members have.
-- Atomic.
local g = open(ARGV[3])
-- How many entries are counted one by one where Redis lost count, because entries were deleted one by one.
local COUNTED = 5000

local pending = 0
for _, member in ipairs(redis.call('ZRANGE', g.busy, 0, -1)) do
  pending = pending + redis.call('HLEN', with(g, member))
end
local sole = sole_of(g)
if sole then
  pending = pending + math.max(pending_count(g, sole.member) - redis.call('HLEN', with(g, sole.member)), 0)
end
local new = 0
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err then groups = {} end
for _, flat in ipairs(groups) do
  local group = named(flat)
  if group.name == g.name then
    local last = group['last-delivered-id']
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if oldest and is_before(last, oldest[1]) then
      new = redis.call('XLEN', stream)
    elseif oldest then
      new = group.lag or #redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', COUNTED)
    end
  end
end
return {new + redis.call('ZCARD', g.wait), pending}
