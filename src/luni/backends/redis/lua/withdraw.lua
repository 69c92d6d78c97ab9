-- Take back what a tenant's lists, on a Cluster, were told of a session whose script then did nothing. (operation of a Cluster, after a write)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua
-- ARGV  1 member, then enlist.lua's reply: 2 version · 3 version before · 4 score among the sessions before · 5 now ·
--       6 was it put among the waiting · 7 among the unsent
-- Reply 1 if nobody has told them anything else meanwhile, else 0: then everything stays

local SESSIONS, WAITING, UNSENT, LISTED = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local member = ARGV[1]
if (redis.call('HGET', LISTED, member) or '') ~= ARGV[2] then return 0 end
if ARGV[6] == '1' then redis.call('ZREM', WAITING, member) end
if ARGV[7] == '1' then redis.call('ZREM', UNSENT, member) end
if redis.call('ZSCORE', SESSIONS, member) == ARGV[5] then
  if ARGV[4] == '' then redis.call('ZREM', SESSIONS, member) else redis.call('ZADD', SESSIONS, ARGV[4], member) end
end
if ARGV[3] == '' then redis.call('HDEL', LISTED, member) else redis.call('HSET', LISTED, member, ARGV[3]) end
return 1
