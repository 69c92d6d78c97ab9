-- Claim sessions for one sweeper, and take those off the list that are gone. A claim ends by itself. (operation Claim)
--
-- KEYS  1 luni:tenant:{cliente}:waiting or …:unsent ZSET · 2 luni:tenant:{cliente}:claims HASH {list}|{member}|{score} = claimer|until (ms) ·
--       3 luni:tenant:{cliente}:listed HASH, on a Cluster only: there a list is told before the session, so what is not there may be
--         on its way; it leaves when it is met a second time, a minute later, under the same version
-- ARGV  1 claimer · 2 for how many ms · 3 waiting or unsent · 4 how many are gone · 5… member and score of those, then of those to claim
-- Reply {1 or 0 for each that was to be claimed}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local list, claims, GRACE_MS = KEYS[1], KEYS[2], 60000
local all, gone = redis.call('HGETALL', claims), 4 + 2 * tonumber(ARGV[4])
local held = {}
for i = 1, #all, 2 do
  local claimer, ends = string.match(all[i + 1], '^(.*)|(%d+)$')
  if claimer and tonumber(ends) > ms then held[all[i]] = claimer else redis.call('HDEL', claims, all[i]) end
end

local function may_leave(member, score)
  if not KEYS[3] then return true end
  local name, version = ARGV[3] .. '|' .. member, redis.call('HGET', KEYS[3], member) or ''
  local since, same = string.match(redis.call('HGET', KEYS[3], name) or '', '^(%d+)|(.*)$')
  if same ~= version .. '|' .. score then
    redis.call('HSET', KEYS[3], name, string.format('%.0f', ms) .. '|' .. version .. '|' .. score)
    return false
  end
  if ms - tonumber(since) < GRACE_MS then return false end
  redis.call('HDEL', KEYS[3], name)
  return true
end

for i = 5, gone, 2 do
  if redis.call('ZSCORE', list, ARGV[i]) == ARGV[i + 1] and may_leave(ARGV[i], ARGV[i + 1]) then redis.call('ZREM', list, ARGV[i]) end
end
local claimed = {}
for i = gone + 1, #ARGV, 2 do
  local name = ARGV[3] .. '|' .. ARGV[i] .. (ARGV[3] == 'waiting' and '|' .. ARGV[i + 1] or '')
  local free = not held[name] or held[name] == ARGV[1]
  if free then redis.call('HSET', claims, name, ARGV[1] .. '|' .. string.format('%.0f', ms + tonumber(ARGV[2]))) end
  claimed[#claimed + 1] = free and 1 or 0
end
redis.call('PEXPIRE', claims, ARGV[2])
return claimed
