-- KEYS: a conversation. ARGV: the messages that do not count. At once. Answers nothing.
local c = open(KEYS[1], {})
uncount(KEYS[1], c, ARGV)
save(KEYS[1], c, {})
