-- Let a key lead to a session, on a Cluster. (operation of a Cluster, with every write)
--
-- KEYS  1 id or client, STRING: the session's base key, or its id
-- ARGV  1 value · 2 until when (ms; 0: at least for 3 from now on, if it does not yet) · 3 ttl ms
-- Reply 1 if there was none, else 0

local left = redis.call('PTTL', KEYS[1])
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', 3600000)
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
elseif left < tonumber(ARGV[3]) + 1800000 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', tonumber(ARGV[3]) + 3600000))
end
return left == -2 and 1 or 0
