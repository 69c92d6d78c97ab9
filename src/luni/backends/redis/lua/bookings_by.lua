-- List where a customer's bookings are, in order of their start. (operation BookingsBy)
--
-- KEYS  1 luni:agenda:{cliente}:customers ZSET, members by:start:resource:id
--       2 luni:agenda:{cliente}:over ZSET of the same members by when they are over (ms)
-- ARGV  1 by · 2 at most so many
-- Reply {member, …}

local AT_ONCE = 200
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found, offset, limit = {}, 0, tonumber(ARGV[2])
repeat
  local some = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[1] .. ':', '(' .. ARGV[1] .. ';', 'LIMIT', offset, AT_ONCE)
  for i = 1, #some do
    local score = redis.call('ZSCORE', KEYS[2], some[i])
    if #found < limit and score and tonumber(score) > ms then found[#found + 1] = some[i] end
  end
  offset = offset + AT_ONCE
until #found >= limit or #some < AT_ONCE
return found
