-- The sessions of some tenants that wait to be answered, or whose replies wait to be sent, the longest first, without those
-- that a sweeper has claimed. (operation Pending)
--
-- KEYS  luni:tenant:{cliente}:waiting or …:unsent ZSET, and luni:tenant:{cliente}:claims HASH, of each tenant
-- ARGV  1 for how many ms they must have waited · 2 how many of each are passed over · 3 at most how many of each · 4 waiting or unsent
-- Reply {ms, {how many were looked at, {member, score, …}} of each tenant}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = { string.format('%.0f', ms) }
for i = 1, #KEYS, 2 do
  local list, claims = KEYS[i], KEYS[i + 1]
  local listed = redis.call('ZRANGEBYSCORE', list, '-inf', string.format('%.0f', ms - tonumber(ARGV[1])), 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])
  local free = {}
  for j = 1, #listed, 2 do
    local claim = redis.call('HGET', claims, ARGV[4] .. '|' .. listed[j] .. (ARGV[4] == 'waiting' and '|' .. listed[j + 1] or ''))
    if not claim or (tonumber(string.match(claim, '|(%d+)$')) or 0) <= ms then
      free[#free + 1] = listed[j]
      free[#free + 1] = listed[j + 1]
    end
  end
  found[#found + 1] = { #listed / 2, free }
end
return found
