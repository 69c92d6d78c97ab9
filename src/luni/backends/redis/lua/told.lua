-- Under which version a tenant's lists, on a Cluster, were told last of a session. (operation of a Cluster, before Erase)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua
-- ARGV  1 member
-- Reply the version, '' for none

return redis.call('HGET', KEYS[5], ARGV[1]) or ''
