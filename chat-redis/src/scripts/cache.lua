-- Begins the scripts over the values of one shard of a scope. KEYS[1] is the shard's life, KEYS[2] the list of its
-- keys. ARGV[2] is for how many milliseconds Redis keeps what is over.
--
-- A life is a generation (8 bytes) and how long the list is kept (8 bytes, ms). A record begins with what it is (1
-- byte: `i` a value, `a` a value that stands apart, `x` a removal), its generation (8), its end (8, ms) and who wrote
-- it (8); then comes the value, unless it stands apart.
local rubbish = tonumber(ARGV[2])
local life = redis.call('GET', KEYS[1])
if life and #life ~= 16 then
  return redis.error_reply('WRONGTYPE not the life of a scope')
end
local generation = life and life:sub(1, 8)

-- The beginning of a record; nothing if it is none.
local function head(record)
  return #record < 25 and '' or record
end

local function head_of(key)
  return head(redis.call('GETRANGE', key, 0, 24))
end

local function number(bytes)
  return (struct.unpack('>I8', bytes))
end

local function bytes(number)
  return struct.pack('>I8', number)
end

local function is_value(head)
  local kind = head:sub(1, 1)
  return kind == 'i' or kind == 'a'
end

local function is_over(head)
  return number(head:sub(10, 17)) <= now
end

local function lives(head)
  return is_value(head) and head:sub(2, 9) == generation and not is_over(head)
end

local function is_fenced(head)
  return head:sub(1, 1) == 'x' and not is_over(head)
end

local function writer(head)
  return head:sub(18, 25)
end

-- Where the value of a record stands apart.
local function apart(key, writer)
  return string.format('%s:%08x%08x', key, struct.unpack('>I4I4', writer))
end

-- While its slot moves to another server of a cluster, a key that is not named in KEYS may be there already. Then there
-- is no answer but why.
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    local is_away = answer.err:find('non local key', 1, true)
    return nil, redis.error_reply(is_away and 'TRYAGAIN a slot moves' or answer.err)
  end
  return answer
end

-- Lets go of what belongs to a record that is about to be replaced. What cannot be reached ends by itself.
local function release(key, record)
  if record:sub(1, 1) == 'a' then
    try('UNLINK', apart(key, writer(record)))
  end
end

-- Takes away what is over. Its key is struck out of the list by the next who comes by.
local function bury(key, record)
  local is_buried = is_value(record) and is_over(record)
  if is_buried then
    redis.call('UNLINK', key)
    release(key, record)
  end
  return is_buried
end

-- Where the record of a key stands: encoded as `keys::encode` does.
local codes = { ['%'] = '%25', [':'] = '%3A', ['{'] = '%7B', ['}'] = '%7D' }
local function place_of(name)
  return KEYS[2]:sub(1, -2) .. 'v:' .. name:gsub('[%%:{}]', codes)
end

-- Keeps the list for as long as it lists anything: it is told only once in a time to live.
local function keep_list(deadline)
  if number(life:sub(9, 16)) < deadline then
    local until_when = deadline + (deadline - now)
    redis.call('PEXPIRE', KEYS[2], until_when - now + rubbish)
    redis.call('SETRANGE', KEYS[1], 8, bytes(until_when))
  end
end
