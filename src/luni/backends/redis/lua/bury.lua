-- Write a tombstone: when a person or a tenant was erased. (operation Bury)
--
-- KEYS  1 luni:tombstones ZSET of keyed digests by when they were erased (ms) · 2 luni:tombstones:key STRING, the digests' key
-- ARGV  1 who: {cliente} or {cliente}:{userId} · 2 for how many ms tombstones are kept · 3 the digests' key, where there is none ·
--       4 when it was (ms), if that was before now; 0: now
-- Reply ms

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local at = ARGV[4] ~= '0' and tonumber(ARGV[4]) < tonumber(now) and ARGV[4] or now
redis.call('ZCARD', KEYS[1])
local key = redis.call('GET', KEYS[2])
if not key then
  key = ARGV[3]
  redis.call('SET', KEYS[2], key) -- digests of a key that is lost mean nothing
  redis.call('DEL', KEYS[1])
end
redis.call('ZADD', KEYS[1], 'GT', at, redis.sha1hex(key .. redis.sha1hex(key .. ARGV[1])))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', tonumber(now) - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return at
