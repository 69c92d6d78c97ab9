-- Take back what a tenant's lists, on a Cluster, were told of a session whose script then did nothing. (operation of a Cluster, after a write)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua
-- ARGV  1 member, then enlist.lua's reply: 2 version · 3 version before · 4 score among the sessions before · 5 now ·
--       6 was it put among the waiting · 7 among the unsent, then how the session stands ('' for nothing): 8 its id · 9 does an answer
--       wait · 10 a reply to be sent: after an erasure, what others have done may be on the lists by this telling alone
-- Reply 1 if nobody has told them anything else meanwhile, else 0: then everything stays

local SESSIONS, WAITING, UNSENT, LISTED = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local member = ARGV[1]
if (redis.call('HGET', LISTED, member) or '') ~= ARGV[2] then return 0 end
if ARGV[6] == '1' and ARGV[9] == '' then redis.call('ZREM', WAITING, member) end
if ARGV[7] == '1' and ARGV[10] == '' then redis.call('ZREM', UNSENT, member) end
if redis.call('ZSCORE', SESSIONS, member) == ARGV[5] then
  if ARGV[4] ~= '' then
    redis.call('ZADD', SESSIONS, ARGV[4], member)
  elseif ARGV[8] == '' then
    redis.call('ZREM', SESSIONS, member)
  end
end
if ARGV[3] == '' then redis.call('HDEL', LISTED, member) else redis.call('HSET', LISTED, member, ARGV[3]) end
return 1
