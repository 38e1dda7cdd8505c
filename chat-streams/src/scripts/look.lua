-- What there is to know about a place in the stream, and what comes after it.
-- ARGV from 3: an entry id, or nothing for the beginning; how many entries at most.
-- Result: the life; the id of the newest entry there ever was; how many there ever were; how many there are; the newest that
-- was deleted one by one; the oldest there is; the entries from that id on, the one with that id included.
-- Nothing when the stream is not there and the beginning is asked for.
-- Atomic.
local from, max = ARGV[3], tonumber(ARGV[4])
if from == '' and redis.call('EXISTS', stream) == 0 then return false end
local name = make()
local info = named(redis.call('XINFO', 'STREAM', stream))
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local entries = redis.call('XRANGE', stream, from == '' and '-' or from, '+', 'COUNT', max + 1)
return {
  name, info['last-generated-id'], info['entries-added'], info.length, info['max-deleted-entry-id'],
  oldest and oldest[1] or false, entries
}
