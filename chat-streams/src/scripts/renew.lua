-- Says that a member still works on entries.
-- ARGV from 3: the group; the member; nothing; the life the entries are of; the entries.
-- Result: how many of them it has.
-- Atomic. Repeated: they are renewed again.
local g, member = open(ARGV[3]), ARGV[4]
if redis.call('GET', beside .. 'life') ~= ARGV[6] then return 0 end
local ids, renewed, kept = {}, {}, {}
for n = 7, #ARGV do ids[n - 6] = ARGV[n] end
local records, since = bulk('HMGET', with(g, member), ids), whole(now)
for n, id in ipairs(ids) do
  if records[n] then
    local record = recorded(records[n])
    kept[#kept + 1] = id
    renewed[#renewed + 1] = id
    renewed[#renewed + 1] = since .. ':' .. record.attempt .. ':' .. record.key
  end
end
bulk('HSET', with(g, member), renewed)
claim(g, member, kept, 'JUSTID')
return #kept
