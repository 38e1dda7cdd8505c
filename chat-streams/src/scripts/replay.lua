-- Hands dead letters back to their groups, as their next deliveries.
-- ARGV from 3: nothing; nothing; what orders entries without an envelope; the name of this call; for how long its answer is
-- kept, in ms; the letters.
-- Result: how many.
-- Atomic. Repeated under the same name: the same answer.
local letters, answered = beside .. 'dead', beside .. 'done:' .. ARGV[6]
local done = redis.call('GET', answered)
if done then return tonumber(done) end

local count = 0
for n = 8, #ARGV do
  local found = redis.call('XRANGE', letters, ARGV[n], ARGV[n])[1]
  if found then
    local said, fields = named(found[2]), {}
    for m = 1, #found[2], 2 do
      if string.sub(found[2][m], 1, 1) == ':' then
        fields[#fields + 1] = string.sub(found[2][m], 2)
        fields[#fields + 1] = found[2][m + 1]
      end
    end
    local many, at = said.fields or '', 1
    while at <= #many do
      local colon = string.find(many, ':', at, true)
      local last = colon + tonumber(string.sub(many, at, colon - 1))
      fields[#fields + 1] = string.sub(many, colon + 1, last)
      at = last + 1
    end
    local g, id, key = open(said.group), string.match(said.position, '(%d+%-%d+)$'), key_of(fields)
    end_spell(g)
    local ordinal = whole(redis.call('INCR', beside .. 'replayed'))
    local letter = {attempts = tonumber(said.attempts), key = key, ordinal = ordinal, fields = fields}
    redis.call('HSET', g.kept, id, cmsgpack.pack(letter))
    redis.call('ZADD', g.wait, 0, place_of_letter(key, ordinal, id))
    local holders = {}
    look_up(g, holders, {key})
    announce(g, key, ordinal, holders[key] and holders[key].member)
    redis.call('XDEL', letters, ARGV[n])
    wake(g)
    count = count + 1
  end
end
redis.call('SET', answered, count, 'PX', ARGV[7])
return count
