-- Says that a group is done with entries.
-- ARGV from 3: the group; the member that says so; what orders entries without an envelope; the life the entries are of; the
-- entries.
-- Result: how many of them anybody had.
-- Atomic. Repeated: nothing changes.
if redis.call('GET', beside .. 'life') ~= ARGV[6] then return 0 end
local g = open(ARGV[3])
local sole = redis.call('HGET', g.sole, 'member')
-- All that anybody has is in the native list alone.
if sole and redis.call('EXISTS', with(g, sole)) == 0 then return cross_out(g, ARGV, 7) end
local ids = {}
for n = 7, #ARGV do ids[n - 6] = ARGV[n] end
return let_go(g, ARGV[4], ids)
