-- KEYS: conversations. ARGV: a user, and for each conversation what truth says: head, epoch, seq, the head when that
-- epoch began, the last message of the user, how many messages do not count, how many mention the user, and these.
-- At once for all of them. Answers nothing.
local user, at = ARGV[1], 2
for _, key in ipairs(KEYS) do
  local head, epoch, seq, rewound, own, uncounted, mentions = unpack(ARGV, at, at + 6)
  at = at + 7
  local function take(many)
    local seqs = {}
    for i = 1, tonumber(many) do seqs[i] = ARGV[at + i - 1] end
    at = at + many
    return seqs
  end
  local c, readers = open(key, { user })
  local r = readers[1]
  if c.head == '-' then
    c.head, c.floor = head, head
  else
    c.head = larger(c.head, head)
  end
  uncount(key, c, take(uncounted))
  -- Truth brings back what is missing, if it is not older than that.
  local from = reached({ seq = seq, rewound = rewound, own = own })
  local floor = r.floor == '-' and c.floor or r.floor
  if not above(floor, head) then r.floor = smaller(floor, from) end
  if not above(r.no_mention, head) then r.no_mention = smaller(r.no_mention, from) end
  mention(key, c, r, take(mentions))
  clear(key, r)
  merge(r, epoch, seq, rewound)
  r.own = larger(r.own, own)
  prune(key, r)
  save(key, c, readers)
end
