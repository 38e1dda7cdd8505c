-- Says that a group is done with entries.
-- ARGV from 3: the group; the member that says so; nothing; the life the entries are of; the entries.
-- Result: how many of them anybody had.
-- Atomic. Repeated: nothing changes.
if redis.call('GET', beside .. 'life') ~= ARGV[6] then return 0 end
local ids = {}
for n = 7, #ARGV do ids[n - 6] = ARGV[n] end
return #let_go(open(ARGV[3]), ARGV[4], ids)
