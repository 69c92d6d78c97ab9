-- Read when somebody was last erased. (operation Tombstones)
--
-- KEYS  1 luni:tombstones ZSET · 2 luni:tombstones:key STRING, as `bury` writes them
-- ARGV  1… who: {cliente} and {cliente}:{userId}; none for anybody
-- Reply ms, 0 for never

local key = redis.call('GET', KEYS[2])
local latest = '0'
for i = 1, key and #ARGV or 0 do
  local ms = redis.call('ZSCORE', KEYS[1], redis.sha1hex(key .. redis.sha1hex(key .. ARGV[i])))
  if ms and tonumber(ms) > tonumber(latest) then latest = ms end
end
if #ARGV == 0 then latest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] or '0' end
return string.format('%.0f', tonumber(latest))
