-- Take a session that was erased off a tenant's lists, and out of what sweepers have claimed and noted, on a Cluster.
-- (operation of a Cluster, after Erase)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua ·
--       6 luni:tenant:{cliente}:claims HASH {list}|{member}|{score}
-- ARGV  1 member · 2 whether there is no session any more (1/0) · 3 the version before it was erased
-- Reply 1 if it is on no list now, 0 if it goes on, or somebody is about to begin another one: then the lists stay

local SESSIONS, WAITING, UNSENT, LISTED, CLAIMS = KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[6]
local member = ARGV[1]
local off = ARGV[2] == '1' and (redis.call('HGET', LISTED, member) or '') == ARGV[3]
redis.call('ZCARD', SESSIONS)
redis.call('ZCARD', WAITING)
redis.call('ZCARD', UNSENT)
local held = redis.call('HGETALL', CLAIMS)
redis.call('HDEL', LISTED, 'waiting|' .. member, 'unsent|' .. member)
for i = 1, #held, 2 do
  if (held[i] .. '|'):find('|' .. member .. '|', 1, true) then redis.call('HDEL', CLAIMS, held[i]) end
end
if not off then return 0 end
redis.call('ZREM', SESSIONS, member)
redis.call('ZREM', WAITING, member)
redis.call('ZREM', UNSENT, member)
redis.call('HDEL', LISTED, member)
return 1
