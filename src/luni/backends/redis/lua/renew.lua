-- Renew the leases of turns, those that are still held with their tokens and not paused. (operation Renew)
--
-- KEYS  …:locks STRING and …:ctx HASH of each
-- ARGV  1 owner|token and 2 lease ms, of each
-- Reply {1 or 0 for each}

local held = {}
for i = 1, #KEYS, 2 do
  local mine = redis.call('GET', KEYS[i]) == ARGV[i] and redis.call('HGET', KEYS[i + 1], 'paused') ~= '1'
  held[#held + 1] = mine and redis.call('PEXPIRE', KEYS[i], ARGV[i + 1]) or 0
end
return held
