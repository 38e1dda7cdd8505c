-- Throws dead letters away.
-- ARGV from 3: the name of this call; for how long its answer is kept, in ms; the letters.
-- Result: how many.
-- Atomic. Repeated under the same name: the same answer.
local answered = beside .. 'done:' .. ARGV[3]
local done = redis.call('GET', answered)
if done then return tonumber(done) end
local count = 0
for n = 5, #ARGV do count = count + redis.call('XDEL', beside .. 'dead', ARGV[n]) end
redis.call('SET', answered, count, 'PX', ARGV[4])
return count
