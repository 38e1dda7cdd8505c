-- Puts an entry among the dead letters, whole, and takes it off the group.
-- ARGV from 3: the group; the member that gives it up; what orders entries without an envelope; the life the entry is of; the entry; how many letters are
-- kept; where it stood, as text; why; the fields to keep if those of the entry are gone.
-- Result: 1, 0 when nobody had it, -1 when there are too many letters and nothing changed.
-- Atomic. Repeated: nothing changes.
local g, member, id, letters = open(ARGV[3]), ARGV[4], ARGV[7], beside .. 'dead'
if redis.call('GET', beside .. 'life') ~= ARGV[6] then return 0 end
local sole = sole_of(g)
if sole then write_down_those(g, sole.member, {id}) end
local record = record_of(g, member, id)
if not record then return 0 end
if redis.call('XLEN', letters) >= tonumber(ARGV[8]) then return -1 end

local letter = {
  'group', g.name, 'position', ARGV[9], 'attempts', record.attempt, 'cause', ARGV[10], 'at', whole(now)
}
local fields = fields_of(g, id)
if not fields then
  fields = {}
  for n = 11, #ARGV do fields[n - 10] = ARGV[n] end
end
if #fields <= CHUNK then
  for n = 1, #fields, 2 do
    letter[#letter + 1] = ':' .. fields[n]
    letter[#letter + 1] = fields[n + 1]
  end
else
  -- More than a command takes: as one field, each of them after its length.
  for n = 1, #fields do fields[n] = #fields[n] .. ':' .. fields[n] end
  letter[#letter + 1] = 'fields'
  letter[#letter + 1] = table.concat(fields)
end
local added = redis.pcall('XADD', letters, whole(now) .. '-*', unpack(letter))
if type(added) == 'table' then
  if not string.find(added.err, 'equal or smaller', 1, true) then error(added) end
  -- The clock went back: it comes right after the newest.
  local newest = named(redis.call('XINFO', 'STREAM', letters))['last-generated-id']
  redis.call('XADD', letters, string.match(newest, '^%d+') .. '-*', unpack(letter))
end
let_go(g, member, {id})
return 1
