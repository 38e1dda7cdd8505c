-- Begins every script of the unread counts. All of one conversation is in one slot, under its key:
--   KEY            hash: `c` is the conversation, `r<user>` a reader, their fields apart by blanks
--   KEY:m          sorted set of marks, all of score 0: `u<seq>` does not count, `e<seq>` mentions everyone,
--                  `m<user>NUL<seq>` mentions one
--   KEY:a:<user>   hash: what was adjusted by hand
-- A seq is decimal text: a number of Lua would lose the last digits. In marks it has 20 digits.
-- Without its marks a conversation is forgotten; marks without a conversation are true all the same. No mark is of
-- message 0.

local KEPT = 10000                 -- marks of one sort, MAX_UNCOUNTED
local KEPT_READ = 100              -- mentions of a reader that are read
local KEPT_ADJUSTMENTS = 1000      -- keys of adjustments of one count
local IDLE = 90 * 24 * 60 * 60     -- seconds until a conversation nothing happens in is forgotten

local function above(a, b)
  return #a > #b or (#a == #b and a > b)
end

local function larger(a, b)
  if above(a, b) then return a end
  return b
end

local function smaller(a, b)
  if above(a, b) then return b end
  return a
end

local function pad(seq)
  return string.rep('0', 20 - #seq) .. seq
end

local function seq_of(mark)
  return string.match(string.sub(mark, -20), '^0*(%d+)$')
end

local function marks_of(key)
  return key .. ':m'
end

local function adjustments_of(key, user)
  local escapes = { ['%'] = '%25', [':'] = '%3A', ['{'] = '%7B', ['}'] = '%7D' }
  return key .. ':a:' .. (string.gsub(user, '[%%:{}]', escapes))
end

local function mentions_of(user)
  return 'm' .. user .. '\0'
end

-- head: the newest message, `-` while that is not known. floor: up to here something is missing. no_uncounted,
-- no_everyone: up to here marks of that sort were dropped. newest: the newest mark of any sort, 0 while there is none.
local function conversation(text)
  local head, floor, no_uncounted, no_everyone, newest =
    string.match(text or '- 0 0 0 0', '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { text = text, head = head, floor = floor, no_uncounted = no_uncounted, no_everyone = no_everyone,
    newest = newest }
end

-- epoch, seq, rewound: the position; `-` as epoch while that is not known. floor: up to here something is missing, `-`
-- where that is what is missing of the conversation. own: the last message of the user. mention: the newest mention by
-- name. no_mention: up to here such were dropped. adjusted: 1 where something was adjusted.
local function reader(user, text)
  text = text or '- 0 0 - 0 0 0 0'
  local epoch, seq, rewound, floor, own, mention, no_mention, adjusted =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { user = user, text = text, epoch = epoch, seq = seq, rewound = rewound, floor = floor, own = own,
    mention = mention, no_mention = no_mention, adjusted = adjusted }
end

local function reached(r)
  if above(r.own, r.rewound) then return larger(r.seq, r.own) end
  return r.seq
end

-- The conversation and these readers, who differ. A conversation that Redis took the marks of is forgotten.
local function open(key, users)
  local fields = {}
  for i, user in ipairs(users) do fields[i] = 'r' .. user end
  local found = redis.call('HMGET', key, 'c', unpack(fields))
  local c = conversation(found[1] or nil)
  if c.newest ~= '0' and redis.call('EXISTS', marks_of(key)) == 0 then
    redis.call('DEL', key)
    c, found = conversation(nil), {}
  end
  local readers = {}
  for i, user in ipairs(users) do readers[i] = reader(user, found[i + 1] or nil) end
  return c, readers
end

local function text_of(c)
  return c.head .. ' ' .. c.floor .. ' ' .. c.no_uncounted .. ' ' .. c.no_everyone .. ' ' .. c.newest
end

local function text_of_reader(r)
  return r.epoch .. ' ' .. r.seq .. ' ' .. r.rewound .. ' ' .. r.floor .. ' ' .. r.own .. ' ' .. r.mention .. ' '
    .. r.no_mention .. ' ' .. r.adjusted
end

local function save(key, c, readers)
  local fields, text = {}, text_of(c)
  if text ~= c.text then
    fields[1], fields[2] = 'c', text
    c.text = text
  end
  for _, r in ipairs(readers) do
    text = text_of_reader(r)
    if text ~= r.text then
      fields[#fields + 1] = 'r' .. r.user
      fields[#fields + 1] = text
      r.text = text
    end
  end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
    redis.call('EXPIRE', key, IDLE)
    if c.newest ~= '0' then redis.call('EXPIRE', marks_of(key), IDLE) end
  end
end

-- Drops the oldest marks of a sort, and answers the newest of those.
local function drop(marks, sort, many)
  local last = redis.call('ZRANGEBYLEX', marks, '[' .. sort, '(' .. sort .. ':', 'LIMIT', many - 1, 1)[1]
  redis.call('ZREMRANGEBYLEX', marks, '[' .. sort, '[' .. last)
  return seq_of(last)
end

-- Marks messages, and answers up to where marks of this sort were dropped.
local function mark(key, c, sort, seqs, dropped)
  if #seqs == 0 then return dropped end
  local marks = marks_of(key)
  for first = 1, #seqs, 500 do
    local members = {}
    for i = first, math.min(first + 499, #seqs) do
      members[#members + 1] = '0'
      members[#members + 1] = sort .. pad(seqs[i])
      c.newest = larger(c.newest, seqs[i])
    end
    redis.call('ZADD', marks, unpack(members))
  end
  local over = redis.call('ZLEXCOUNT', marks, '[' .. sort, '(' .. sort .. ':') - KEPT
  if over > 0 then dropped = larger(dropped, drop(marks, sort, over)) end
  return dropped
end

local function uncount(key, c, seqs)
  c.no_uncounted = mark(key, c, 'u', seqs, c.no_uncounted)
end

local function mention(key, c, r, seqs)
  r.no_mention = mark(key, c, mentions_of(r.user), seqs, r.no_mention)
  for _, seq in ipairs(seqs) do r.mention = larger(r.mention, seq) end
end

-- Drops the oldest mentions that are read.
local function prune(key, r)
  if r.epoch == '-' or r.mention == '0' then return end
  local marks, sort = marks_of(key), mentions_of(r.user)
  local over = redis.call('ZLEXCOUNT', marks, '[' .. sort, '(' .. sort .. ':') - KEPT_READ
  if over > 0 then
    over = math.min(over, redis.call('ZLEXCOUNT', marks, '[' .. sort, '[' .. sort .. pad(reached(r))))
    if over > 0 then r.no_mention = larger(r.no_mention, drop(marks, sort, over)) end
  end
end

local function clear(key, r)
  if r.adjusted == '1' then redis.call('DEL', adjustments_of(key, r.user)) end
  r.adjusted = '0'
end

-- Moves a reader to a position, unless it is beyond that already.
local function merge(r, epoch, seq, rewound)
  if r.epoch == '-' or above(epoch, r.epoch) then
    r.epoch, r.seq, r.rewound = epoch, seq, rewound
  elseif epoch == r.epoch then
    r.seq, r.rewound = larger(r.seq, seq), larger(r.rewound, rewound)
  end
end

-- What there is to say about a reader, or nothing where a part was lost: the texts of the conversation and of the
-- reader, how many of the messages after what the reader reached do not count, how many others mention it, and what was
-- adjusted.
local function look(key, user, text, reader_text)
  local by = '0'
  if string.byte(reader_text, -1) == 49 then
    by = redis.call('HGET', adjustments_of(key, user), 'by') or '0'
  end
  local newest, seq = string.match(text, '%S+$'), string.match(reader_text, '^%S+ (%S+)')
  if not above(newest, seq) then
    return text .. ' ' .. reader_text .. ' 0 0 ' .. by
  end
  local marks = marks_of(key)
  if redis.call('EXISTS', marks) == 0 then return false end
  local c, r = conversation(text), reader(user, reader_text)
  if c.head == '-' then return false end
  local from, to = pad(reached(r)), pad(c.head)
  local uncounted = redis.call('ZLEXCOUNT', marks, '(u' .. from, '[u' .. to)
  local found = redis.call('ZRANGEBYLEX', marks, '(e' .. from, '[e' .. to)
  if r.mention ~= '0' then
    local sort = mentions_of(user)
    for _, member in ipairs(redis.call('ZRANGEBYLEX', marks, '(' .. sort .. from, '[' .. sort .. to)) do
      found[#found + 1] = member
    end
  end
  local seen, mentions = {}, 0
  if #found > 0 and uncounted > 0 then
    for _, member in ipairs(redis.call('ZRANGEBYLEX', marks, '(u' .. from, '[u' .. to)) do
      seen[string.sub(member, -20)] = true
    end
  end
  for _, member in ipairs(found) do
    local place = string.sub(member, -20)
    if not seen[place] then
      seen[place] = true
      mentions = mentions + 1
    end
  end
  return text .. ' ' .. reader_text .. ' ' .. uncounted .. ' ' .. mentions .. ' ' .. by
end
