-- What orders an entry: the key of its event, as `chat_core::event::wire::decode` has it.
-- ARGV[5]: the fields that order entries of this stream that have no envelope, before those that order any.

-- The envelope as `wire` writes it. An escaped member is rare, and left to cjson.
local ENVELOPE = '^{"id":"[^"\\]*","name":"[^"\\]*","v":%d+,"at":"[^"\\]*","key":"([^"\\]*)"'
local ORDERING = {'conversationId', 'roomId', 'userId', 'fileId', 'messageId', 'event', 'eventType'}

local function is_envelope(object)
  return type(object) == 'table' and type(object.id) == 'string' and type(object.name) == 'string'
    and type(object.v) == 'number' and type(object.at) == 'string' and type(object.key) == 'string'
end

-- A member that says something: the Node services write what they lack as an empty text.
local function said(value)
  if type(value) == 'number' then value = string.format('%.14g', value) end
  if type(value) ~= 'string' or value == '' or value == 'null' or value == 'undefined' then return nil end
  return value
end

-- The key of an entry; and its payload, when that alone is the event.
local function key_of(fields)
  local payload
  for n = 1, #fields, 2 do
    if fields[n] == 'payload' then payload = fields[n + 1] break end
  end
  local object = {}
  if payload then
    local key = string.match(payload, ENVELOPE)
    if key then return key, payload end
    local readable, read = pcall(cjson.decode, payload)
    if readable and type(read) == 'table' then
      if is_envelope(read) then return read.key end
      if is_envelope(read.envelope) then return read.envelope.key end
      object = read
    end
  end
  local beside_it = named(fields)
  local function value(name) return said(object[name]) or (object[name] == nil and said(beside_it[name])) or nil end
  for name in string.gmatch(ARGV[5] or '', '[^,]+') do
    if value(name) then return value(name) end
  end
  for _, name in ipairs(ORDERING) do
    if value(name) then return value(name) end
  end
  return ''
end
