-- Begins a generation of one shard of a scope, unless a later one has begun.
-- KEYS: life, list.
-- ARGV: 3 the generation (8 bytes); 4 `1` to begin it only where there is none.
-- Result: the generation there is now (8 bytes).
local new = ARGV[3]
if life and (ARGV[4] == '1' or number(life) >= number(new)) then
  return generation
end
redis.call('SET', KEYS[1], new .. bytes(0))
-- Without a life nothing is known of the list, and it may list what lives again.
if life then
  redis.call('UNLINK', KEYS[2])
end
return new
