-- KEYS: conversations. ARGV: the user to forget in each. At once for all of them. Answers nothing. What the user wrote
-- and who mentions it is kept: it stays true.
for i, key in ipairs(KEYS) do
  local c, readers = open(key, { ARGV[i] })
  local r = readers[1]
  clear(key, r)
  if r.own == '0' and r.mention == '0' and r.no_mention == '0' then
    redis.call('HDEL', key, 'r' .. r.user)
  else
    r.epoch, r.seq, r.rewound, r.floor = '-', '0', '0', '-'
    save(key, c, readers)
  end
end
