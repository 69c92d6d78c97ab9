-- Read bookings of a resource by their ids, cancelled ones too; what is over is not there any more. (operation Recall)
--
-- KEYS  1 luni:agenda:{cliente}:{resource}:records HASH
-- ARGV  1… ids
-- Reply {ms, record or '' for each}

local time = redis.call('TIME')
local texts = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i = 1, #texts do texts[i] = texts[i] or '' end
return { string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), texts }
