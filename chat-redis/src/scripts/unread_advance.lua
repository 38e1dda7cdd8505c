-- KEYS: the conversation of each advance. ARGV, for each: the user, the epoch or `-` to read on within the one there is,
-- seq, the head when that epoch began, the last message of the user.
-- At once for all of them. Answers where each one stands then: `epoch seq rewound`.
local stand = {}
for i, key in ipairs(KEYS) do
  local user, epoch, seq, rewound, own = unpack(ARGV, i * 5 - 4, i * 5)
  local c, readers = open(key, { user })
  local r = readers[1]
  if r.epoch == '-' then
    r.floor = c.head
    merge(r, '0', '0', '0')
  end
  local beyond
  if epoch == '-' then
    beyond = not above(r.seq, seq)
    r.seq = larger(r.seq, seq)
  else
    merge(r, epoch, seq, rewound)
    beyond = r.epoch == epoch and r.seq == seq and r.rewound == rewound
  end
  if beyond then clear(key, r) end
  r.own = larger(r.own, own)
  prune(key, r)
  save(key, c, readers)
  stand[i] = r.epoch .. ' ' .. r.seq .. ' ' .. r.rewound
end
return stand
