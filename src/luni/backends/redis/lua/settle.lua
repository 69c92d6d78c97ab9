-- Bring a tenant's lists, on a Cluster, up to date with what a session's script has done. (operation of a Cluster, after every write)
--
-- KEYS  1 sessions ZSET · 2 waiting ZSET · 3 channels ZSET · 4 unsent ZSET · 5 luni:tenant:{cliente}:listed HASH, as in enlist.lua
-- ARGV  1 member · 2 ttl ms · 3 channel · 4 version that is true · 5 last activity (ms) · 6 oldest arrival that waits ('' for none) ·
--       7 oldest reply that waits to be sent ('' for none)
-- Under another version somebody is about to owe more: then members are put onto the lists, and none is taken off.
-- Reply 1 under the same version, else 0

local HOUR_MS, MINUTE_MS, LIST_MS = 3600000, 60000, 31 * 86400000
local SESSIONS, WAITING, CHANNELS, UNSENT, LISTED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local member, ttl = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local same = (redis.call('HGET', LISTED, member) or '') == ARGV[4]

local function update(list, score)
  if score ~= '' and same then
    redis.call('ZADD', list, score, member)
  elseif score ~= '' then
    redis.call('ZADD', list, 'NX', score, member)
  elseif same then
    redis.call('ZREM', list, member)
  end
end

local longest = math.max(ttl, tonumber(redis.call('ZRANGE', CHANNELS, -1, -1, 'WITHSCORES')[2] or 0))
local oldest = redis.call('ZRANGE', SESSIONS, 0, 1, 'WITHSCORES')
redis.call('ZADD', SESSIONS, 'GT', ARGV[5], member)
update(WAITING, ARGV[6])
update(UNSENT, ARGV[7])
for i = 1, #oldest, 2 do -- two expired members leave with every write
  if oldest[i] ~= member and tonumber(oldest[i + 1]) < now - longest then
    redis.call('ZREM', SESSIONS, oldest[i])
    redis.call('ZREM', WAITING, oldest[i])
    if not redis.call('ZSCORE', UNSENT, oldest[i]) then redis.call('HDEL', LISTED, oldest[i]) end
  end
end
if tonumber(redis.call('ZSCORE', CHANNELS, ARGV[3]) or 0) < ttl then redis.call('ZADD', CHANNELS, ttl, ARGV[3]) end
local life = longest + HOUR_MS
for _, key in ipairs({ SESSIONS, WAITING, CHANNELS, LISTED }) do
  if redis.call('PTTL', key) < life - MINUTE_MS then redis.call('PEXPIRE', key, string.format('%.0f', life)) end
end
if ARGV[7] ~= '' and redis.call('PTTL', UNSENT) < LIST_MS - MINUTE_MS then redis.call('PEXPIRE', UNSENT, LIST_MS) end
return same and 1 or 0
