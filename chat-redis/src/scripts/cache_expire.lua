-- Takes away what is over in one shard of a scope: what was seen to be over stays so if the clock is set back. All at
-- once.
-- KEYS: life, list, then the place of each value.
-- Result: 1 or 0 for each value, whether it is gone.
local gone = {}
for nth = 3, #KEYS do
  gone[#gone + 1] = bury(KEYS[nth], head_of(KEYS[nth])) and 1 or 0
end
return gone
