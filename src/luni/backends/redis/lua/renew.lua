-- Renew a turn's lease if it is still held with this token and nobody paused the session. (operation Renew)
--
-- ARGV  1 owner|token · 2 lease ms
-- Reply 1 or 0

if redis.call('GET', LOCK) ~= ARGV[1] or redis.call('HGET', CTX, 'paused') == '1' then return 0 end
return redis.call('PEXPIRE', LOCK, ARGV[2])
