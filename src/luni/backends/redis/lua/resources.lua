-- List a tenant's resources that have bookings. (operation Resources)
--
-- KEYS  1 luni:agenda:{cliente}:resources ZSET of resources by when their last booking is over (ms)
-- ARGV  1 at most so many
-- Reply {resource, …}

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'LIMIT', 0, ARGV[1])
