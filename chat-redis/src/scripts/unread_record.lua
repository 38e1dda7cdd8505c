-- KEYS: the conversation of each message. ARGV, for each: seq, the one before, 1 if it counts, 1 if it mentions
-- everyone, the sender or nothing, how many users it mentions by name, and these, none of them twice.
-- At once for all of them. Answers nothing.
local at = 1
for _, key in ipairs(KEYS) do
  local seq, previous, countable, everyone, sender, mentioned = unpack(ARGV, at, at + 5)
  mentioned = tonumber(mentioned)
  local users, wrote = {}, nil
  for i = 1, mentioned do
    users[i] = ARGV[at + 5 + i]
    if users[i] == sender then wrote = i end
  end
  at = at + 6 + mentioned
  if seq ~= '0' and sender ~= '' and not wrote then
    wrote = #users + 1
    users[wrote] = sender
  end
  local c, readers = open(key, users)
  if c.head == '-' then
    c.head, c.floor = seq, previous
  else
    c.head = larger(c.head, seq)
  end
  if seq ~= '0' then
    if countable ~= '1' then uncount(key, c, { seq }) end
    if everyone == '1' then c.no_everyone = mark(key, c, 'e', { seq }, c.no_everyone) end
    for i = 1, mentioned do mention(key, c, readers[i], { seq }) end
    if wrote then
      readers[wrote].own = larger(readers[wrote].own, seq)
      prune(key, readers[wrote])
    end
  end
  save(key, c, readers)
end
