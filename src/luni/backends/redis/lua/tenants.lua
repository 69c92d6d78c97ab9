-- The tenants that have sessions. (operation Tenants)
--
-- KEYS  1 luni:tenants ZSET tenant by when its last session expires (ms)
-- ARGV  1 how many are passed over · 2 at most how many
-- Reply {tenant, …}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', ms), '+inf', 'LIMIT', ARGV[1], ARGV[2])
