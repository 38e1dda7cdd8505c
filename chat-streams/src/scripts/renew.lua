-- Says that a member still works on entries.
-- ARGV from 3: the group; the member; what orders entries without an envelope; the life the entries are of; the entries.
-- Result: how many of them it has.
-- Atomic. Repeated: they are renewed again.
local g, member = open(ARGV[3]), ARGV[4]
if redis.call('GET', beside .. 'life') ~= ARGV[6] then return 0 end
local ids, since, count = {}, whole(now), 0
for n = 7, #ARGV do ids[n - 6] = ARGV[n] end
local sole = sole_of(g)
if sole and sole.member == member then write_down_those(g, member, ids) end
-- Two of one name share it: what the first had when the second joined is with the former life.
for _, owner in ipairs({member, former(member)}) do
  local records, renewed, kept, others = bulk('HMGET', with(g, owner), ids), {}, {}, {}
  for n, id in ipairs(ids) do
    if records[n] then
      local record = recorded(records[n])
      kept[#kept + 1] = id
      renewed[#renewed + 1] = id
      renewed[#renewed + 1] = since .. ':' .. record.attempt .. ':' .. record.key
    else
      others[#others + 1] = id
    end
  end
  -- First what a server without memory lets happen: then the rest may, too.
  claim(g, member, kept, 'JUSTID')
  bulk('HSET', with(g, owner), renewed)
  ids, count = others, count + #kept
end
return count
