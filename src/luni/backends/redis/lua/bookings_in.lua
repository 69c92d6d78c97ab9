-- Read the bookings of a resource that touch an interval, as they are at one instant. (operation BookingsIn)
--
-- KEYS  1 luni:agenda:{cliente}:{resource}:records HASH · 2 luni:…:timeline ZSET, members unit:start:end:until:id
-- ARGV  1 start · 2 end (µs, 17 digits) · 3 at most so many
-- Reply {ms, are there more (1/0), ids, records ('' for one that is gone)}

local AT_ONCE = 500
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local from, till, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ids, full = {}, 0

local function note(member)
  local ends_at, until_ms, id = string.match(member, '^%d+:%d+:(%d+):(%d+):(.*)$')
  if tonumber(until_ms) <= ms then return false end
  if tonumber(ends_at) > tonumber(from) then
    if #ids < limit then ids[#ids + 1] = id else full = 1 end
  end
  return true
end

local last = redis.call('ZRANGE', KEYS[2], -1, -1)[1]
for unit = 0, last and tonumber(string.sub(last, 1, 4)) or -1 do
  local prefix = string.format('%04d:', unit)
  local offset, reached = 0, false
  repeat -- the one that began before, past expired holds
    local earlier = redis.call('ZREVRANGEBYLEX', KEYS[2], '(' .. prefix .. from, '[' .. prefix, 'LIMIT', offset, 16)
    for i = 1, #earlier do reached = reached or note(earlier[i]) end
    offset = offset + 16
  until reached or #earlier < 16
  local found = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. prefix .. from, '(' .. prefix .. till, 'LIMIT', 0, limit + 1)
  for i = 1, #found do note(found[i]) end
  if #found > limit then full = 1 end
end

local texts = {}
for first = 1, #ids, AT_ONCE do
  local some = redis.call('HMGET', KEYS[1], unpack(ids, first, math.min(first + AT_ONCE - 1, #ids)))
  for i = 1, #some do texts[#texts + 1] = some[i] or '' end
end
return { string.format('%.0f', ms), full, ids, texts }
