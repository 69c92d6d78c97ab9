-- Take a session that has ended off a tenant's lists, on a Cluster. (operation of a Cluster, after End)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua
-- ARGV  1 member · 2 version that was true
-- Reply 1 if nobody is about to begin another one, else 0: then everything stays

if (redis.call('HGET', KEYS[5], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
return 1
