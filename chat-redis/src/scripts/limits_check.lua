-- Decides about attempts in one shard, in their order, each under all of its rules at once.
--
-- KEYS: for each attempt the window of each of its rules: a sorted set of what counts, by the time it was admitted. With
--   it stands `w`, whose score is minus the window's length as last asked, so that it comes first.
-- ARGV: the time; then for each attempt what it is known by and the number of its rules; for each rule the most it
--   admits, the length of its window, and for how long its key is kept, both in milliseconds.
-- Answers two numbers for each attempt: 0 and for how many more there is room, or the number of the rule that refuses
--   it for longest and for how many milliseconds, -1 meaning for ever.

-- Forgets what is outside of the window now or before; how many count, and whether `token` is one of them.
local function look(key, token, length, kept)
  local scores = redis.call('ZMSCORE', key, 'w', token)
  if not scores[1] then return 0, false end
  local last = -tonumber(scores[1])
  local shorter = math.min(last, length)
  if tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) > now then
    for _, later in ipairs(redis.call('ZRANGE', key, string.format('(%.0f', now), '+inf', 'BYSCORE')) do
      redis.call('ZADD', key, now, later)
    end
  end
  redis.call('ZREMRANGEBYSCORE', key, 0, now - shorter)
  local count = redis.call('ZCARD', key) - 1
  if last ~= length and count > 0 then
    redis.call('ZADD', key, -length, 'w')
    redis.call('PEXPIRE', key, kept)
  end
  return count, scores[2] and now - tonumber(scores[2]) < shorter
end

-- For how long a full window stays full; -1 for ever.
local function wait(rule)
  if rule.max == 0 then return -1 end
  local last_to_leave = rule.count - rule.max + 1
  local at = redis.call('ZRANGE', rule.key, last_to_leave, last_to_leave, 'WITHSCORES')[2]
  return tonumber(at) + rule.length - now
end

local answers = {}
local key, arg = 1, 2
while ARGV[arg] do
  local token, rules, known = ARGV[arg], {}, false
  for n = 1, tonumber(ARGV[arg + 1]) do
    local first = arg + 3 * n - 1
    local rule = { key = KEYS[key], max = tonumber(ARGV[first]), length = tonumber(ARGV[first + 1]), kept = ARGV[first + 2] }
    local is_here
    rule.count, is_here = look(rule.key, token, rule.length, rule.kept)
    known = known or is_here
    rules[n] = rule
    key = key + 1
  end
  arg = arg + 2 + 3 * #rules

  local refused_by, longest = 0, 0
  if not known then
    for n, rule in ipairs(rules) do
      if rule.count >= rule.max then
        local this = wait(rule)
        if refused_by == 0 or longest ~= -1 and (this == -1 or this > longest) then
          refused_by, longest = n, this
        end
      end
    end
  end
  if refused_by == 0 then
    local remaining = math.huge
    for _, rule in ipairs(rules) do
      if not known then
        redis.call('ZADD', rule.key, now, token, -rule.length, 'w')
        redis.call('PEXPIRE', rule.key, rule.kept)
        rule.count = rule.count + 1
      end
      remaining = math.min(remaining, math.max(0, rule.max - rule.count))
    end
    longest = remaining
  end
  answers[#answers + 1] = refused_by
  answers[#answers + 1] = longest
end
return answers
