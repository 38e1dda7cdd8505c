-- Says that the sole member read just now: where time is injected, the native list knows another one.
-- ARGV from 3: the group; the member; what orders entries without an envelope; the name of its spell.
-- Result: 1.
-- Atomic. Repeated: what it reads between is said to be read later than it was.
local g = open(ARGV[3])
local sole, upto = sole_of(g), delivered(g)
if not upto or not sole or sole.spell ~= ARGV[6] then return 1 end
local notes = redis.call('LRANGE', g.noted, 0, -1)
local oldest = redis.call('XPENDING', stream, g.name, '-', '+', 1, sole.member)[1]
-- First what a server without memory lets happen: then the rest may, too.
redis.call('DEL', g.noted)
local kept, new = {}, upto .. ' ' .. whole(now)
for _, note in ipairs(notes) do
  local id = string.match(note, '^%S+')
  if id == upto then new = note end
  -- In a group that somebody rewound, what was noted is not in order any more.
  if oldest and not is_before(id, oldest[1]) and is_before(id, upto) then kept[#kept + 1] = note end
end
kept[#kept + 1] = new
bulk('RPUSH', g.noted, kept)
return 1
