-- A page of a tenant's sessions, the latest activity first. (operation Sessions)
--
-- KEYS  1 luni:tenant:{cliente}:sessions ZSET member {canal}:{userId}, score last activity in ms
-- ARGV  1 highest score ('+inf' to begin) · 2 most · 3 passed over: how many with exactly that score were shown before
-- Reply {member, score, …}

return redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[2])
