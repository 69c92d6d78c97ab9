-- Note until when a tenant has a session, on a Cluster. (operation of a Cluster, with every write)
--
-- KEYS  1 tenants ZSET by when its last session expires
-- ARGV  1 tenant · 2 ttl ms
-- Reply 1 if that was new, else 0: a minute more or less is nothing

local time = redis.call('TIME')
local ms, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) >= ms + ttl - 60000 then return 0 end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
for i = 1, #oldest, 2 do
  if tonumber(oldest[i + 1]) < ms then redis.call('ZREM', KEYS[1], oldest[i]) end
end
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', ms + ttl), ARGV[1])
local life = ttl + 3600000
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life)) end
return 1
