-- Delete what is left of a tenant's lists, unless they lead somewhere. (operation Vacate)
--
-- KEYS  1 luni:tenant:{cliente}:sessions ZSET · 2 sessions that wait, waiting ZSET · 3 …:channels ZSET · 4 …:unsent ZSET · 5 …:claims HASH ·
--       6 luni:agenda:{cliente}:customers ZSET · 7 luni:agenda:{cliente}:over ZSET · 8 luni:agenda:{cliente}:resources ZSET ·
--       9 luni:client:{cliente} STRING, on a Cluster luni:tenant:{cliente}:listed HASH · 10 luni:tenants ZSET, absent on a Cluster
-- ARGV  1 tenant, as a member of the tenants
-- Reply {sessions, resources with bookings, the longest ttl of a session (ms)}; nothing is left if the first two are 0

local sessions, bookings = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[8])
local longest = tonumber(redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2] or 0)
if KEYS[10] then redis.call('ZCARD', KEYS[10]) end
if sessions == 0 then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[9])
  if KEYS[10] then redis.call('ZREM', KEYS[10], ARGV[1]) end
end
if bookings == 0 then redis.call('DEL', KEYS[6], KEYS[7]) end
return { sessions, bookings, longest }
