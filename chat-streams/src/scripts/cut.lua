-- Trims the stream, whoever still needs what is trimmed.
-- ARGV from 3: how many entries to keep.
-- Result: how many entries were dropped; how many of these some group had not acknowledged; how many are still to be dropped.
-- Atomic. Repeated: it goes on.
local keep = tonumber(ARGV[3])
local length = redis.call('XLEN', stream)
local excess = math.min(length - keep, 1000)
if excess <= 0 then return {0, 0, 0} end

local oldest, lost = redis.call('XRANGE', stream, '-', '+', 'COUNT', excess + 1), {}
local cut = oldest[excess + 1] and oldest[excess + 1][1]
local groups = redis.call('XINFO', 'GROUPS', stream)
for _, flat in ipairs(groups) do
  local group = named(flat)
  local upto = cut and '(' .. cut or '+'
  -- What was trimmed before may still be pending: it does not count again.
  local pending = redis.call('XPENDING', stream, group.name, oldest[1][1], upto, excess)
  for _, entry in ipairs(pending) do lost[entry[1]] = true end
  for n = 1, excess do
    if is_before(group['last-delivered-id'], oldest[n][1]) then lost[oldest[n][1]] = true end
  end
end
if cut then redis.call('XTRIM', stream, 'MINID', '=', cut) else redis.call('XTRIM', stream, 'MAXLEN', '=', 0) end
local info = named(redis.call('XINFO', 'STREAM', stream))
for _, flat in ipairs(groups) do
  local group = named(flat)
  local last = group['last-delivered-id']
  -- All that is left is new to this group, which Redis cannot know.
  if not cut or is_before(last, cut) then
    redis.call('XGROUP', 'SETID', stream, group.name, last, 'ENTRIESREAD', info['entries-added'] - info.length)
  end
end
local count = 0
for _ in pairs(lost) do count = count + 1 end
return {excess, count, length - excess - keep}
