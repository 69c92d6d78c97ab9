-- Release a turn's lease without an answer, if it is still held with this token. (operation Release)
--
-- ARGV  1 owner|token
-- Reply 1 or 0

if redis.call('GET', LOCK) ~= ARGV[1] then return 0 end
return redis.call('DEL', LOCK)
