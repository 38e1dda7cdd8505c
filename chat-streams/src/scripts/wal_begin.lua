-- ARGV[4], ARGV[5]: how many entries and bytes there may be; ARGV[6] the entry's name, ARGV[7] the entry.
-- Answers its place, `other` or `full`. One step: a name that is there has its place already.
if not is_ours() then return 'other' end
local known = redis.call('HGET', names, ARGV[6])
if known then return known end
local size = #ARGV[7]
if redis.call('XLEN', log) >= tonumber(ARGV[4]) or bytes() + size > tonumber(ARGV[5]) then return 'full' end
-- Above every place of before, also after the log was lost: an old place names nothing new.
local place = math.max(tonumber(redis.call('HGET', state, 'next') or '0'), now * 1000)
if redis.call('EXISTS', log) == 1 then
  local about = redis.call('XINFO', 'STREAM', log)
  for nth = 1, #about, 2 do
    if about[nth] == 'last-generated-id' then
      place = math.max(place, tonumber(string.match(about[nth + 1], '^(%d+)')) + 1)
    end
  end
end
local id = string.format('%.0f', place)
redis.call('XADD', log, id .. '-0', 'name', ARGV[6], 'size', size, 'entry', ARGV[7])
redis.call('HSET', names, ARGV[6], id)
redis.call('HSET', state, 'next', string.format('%.0f', place + 1), 'bytes', string.format('%.0f', bytes() + size))
return id
