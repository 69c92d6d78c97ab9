-- Tell a tenant's lists, on a Cluster, of what a session's script is about to do. (operation of a Cluster, before Receive, Open …)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH member = version (µs):
--       it grows with everything that a session may owe, and nothing is taken off a list under another version than was seen
-- ARGV  1 member · 2 ttl ms · 3 channel · 4 what it may owe: waiting, unsent or session (nothing: it may only begin) ·
--       5 a version that is known to be too low
-- Reply {version, version before, score among the sessions before, now, was it put among the waiting (1/0), the unsent (1/0)}

local HOUR_MS, MINUTE_MS, LIST_MS = 3600000, 60000, 31 * 86400000
local SESSIONS, WAITING, CHANNELS, UNSENT, LISTED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local member, ttl, owes = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000)
local function digits(number) return string.format('%.0f', number) end

local before, score = redis.call('HGET', LISTED, member) or '', redis.call('ZSCORE', SESSIONS, member)
redis.call('ZSCORE', WAITING, member)
redis.call('ZSCORE', UNSENT, member)
local longest = math.max(ttl, tonumber(redis.call('ZRANGE', CHANNELS, -1, -1, 'WITHSCORES')[2] or 0))
local version = before
if owes ~= 'session' then
  version = digits(math.max(us, (tonumber(before) or 0) + 1, tonumber(ARGV[5]) + 1))
  redis.call('HSET', LISTED, member, version)
end
local at = digits(now)
if owes == 'waiting' and score then redis.call('ZADD', SESSIONS, 'GT', at, member) end
if not score then redis.call('ZADD', SESSIONS, at, member) end
local waits = owes == 'waiting' and redis.call('ZADD', WAITING, 'NX', at, member) or 0
local unsent = owes == 'unsent' and redis.call('ZADD', UNSENT, 'NX', at, member) or 0
if tonumber(redis.call('ZSCORE', CHANNELS, ARGV[3]) or 0) < ttl then redis.call('ZADD', CHANNELS, ttl, ARGV[3]) end
local life = longest + HOUR_MS
for _, key in ipairs({ SESSIONS, WAITING, CHANNELS, LISTED }) do
  if redis.call('PTTL', key) < life - MINUTE_MS then redis.call('PEXPIRE', key, digits(life)) end
end
if unsent == 1 then
  redis.call('PEXPIRE', UNSENT, LIST_MS)
  redis.call('PEXPIRE', LISTED, math.max(LIST_MS, life))
end
return { version, before, score or '', at, waits, unsent }
