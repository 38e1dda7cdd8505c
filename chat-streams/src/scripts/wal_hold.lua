-- Takes or renews the lease, or gives it back when ARGV[3] is 0. Answers `other`, or `ok`, the number of entries and of bytes.
-- An empty log that is given back is removed.
if not is_ours() then return {'other'} end
local count, size = redis.call('XLEN', log), bytes()
if tonumber(ARGV[3]) == 0 and count == 0 then redis.call('DEL', log, names, state) end
return {'ok', tostring(count), string.format('%.0f', size)}
