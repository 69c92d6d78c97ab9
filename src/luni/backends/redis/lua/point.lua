-- Let a key lead to a session, on a Cluster. (operation of a Cluster, with every write)
--
-- KEYS  1 id or client, STRING: the session's base key, or its id
-- ARGV  1 value · 2 until when (ms, a second more or less is nothing; 0: at least for 3 from now on) · 3 ttl ms
-- Reply 1 if there was none, else 0

local SECOND_MS, HOUR_MS = 1000, 3600000
local left, value = redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
if ARGV[2] == '0' then
  if value ~= ARGV[1] or left < ttl + HOUR_MS / 2 then redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', ttl + HOUR_MS)) end
elseif value ~= ARGV[1] or math.abs(now + left - tonumber(ARGV[2])) > SECOND_MS then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', math.max(1, tonumber(ARGV[2]) - now)))
end
return left == -2 and 1 or 0
