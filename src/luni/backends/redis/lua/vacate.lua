-- Delete what is left of a tenant's lists, unless they lead somewhere. (operation Vacate)
--
-- KEYS  1 luni:tenant:{cliente}:sessions ZSET · 2 sessions that wait, waiting ZSET · 3 …:channels ZSET · 4 luni:tenants ZSET ·
--       5 …:unsent ZSET · 6 …:claims HASH · 7 luni:client:{cliente} STRING · 8 luni:agenda:{cliente}:customers ZSET ·
--       9 luni:agenda:{cliente}:over ZSET · 10 luni:agenda:{cliente}:resources ZSET
-- ARGV  1 tenant, as a member of the tenants
-- Reply 1 if nothing is left, else 0

local sessions, bookings = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[10])
redis.call('ZCARD', KEYS[4])
if sessions == 0 then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7])
  redis.call('ZREM', KEYS[4], ARGV[1])
end
if bookings == 0 then redis.call('DEL', KEYS[8], KEYS[9]) end
return sessions + bookings == 0 and 1 or 0
