-- Says all that is known about users.
--
-- Keys: the shard's index, none. Arguments: users.
-- Result: of each {{session, deadline, ...}, {active, idle, chosen, until, visibility, how a session began, its device, how
-- the next one began, ...}}, with the live sessions only.
local found, after, step = {}, '(' .. text(now), 2000
for nth = 2, #ARGV do
  local record = key_of('h', ARGV[nth])
  local sessions = redis.call('ZRANGEBYSCORE', key_of('u', ARGV[nth]), after, '+inf', 'WITHSCORES')
  local values, fields = {}, {'active', 'idle', 'chosen', 'until', 'visibility'}
  local at = 1
  repeat
    while at <= #sessions and #fields < step do
      fields[#fields + 1] = 's:' .. sessions[at]
      fields[#fields + 1] = 'd:' .. sessions[at]
      at = at + 2
    end
    for _, value in ipairs(redis.call('HMGET', record, unpack(fields))) do
      values[#values + 1] = value
    end
    fields = {}
  until at > #sessions
  found[nth - 1] = {sessions, values}
end
return found
