-- ARGV[4..]: places. Answers `ok` or `other`. One step; what is not there changes nothing.
if not is_ours() then return 'other' end
local freed = 0
for nth = 4, #ARGV do
  local id = ARGV[nth] .. '-0'
  local found = redis.call('XRANGE', log, id, id)[1]
  if found then
    redis.call('HDEL', names, found[2][2])
    redis.call('XDEL', log, id)
    freed = freed + tonumber(found[2][4])
  end
end
redis.call('HSET', state, 'bytes', string.format('%.0f', math.max(bytes() - freed, 0)))
return 'ok'
