-- Read only when the units of a resource are busy. (operation BusyIn)
--
-- KEYS  1 luni:agenda:{cliente}:{resource}:timeline ZSET, members unit:start:end:until:id
-- ARGV  1 start · 2 end (µs, 17 digits) · 3 at most so many · 4 how many units
-- Reply {are there more (1/0), {start:end, …} for each unit}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local from, till, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local full = 0

local function note(busy, member)
  if tonumber(string.sub(member, 42, 54)) <= ms then return false end
  if tonumber(string.sub(member, 24, 40)) > tonumber(from) then busy[#busy + 1] = string.sub(member, 6, 40) end
  return true
end

local units = {}
for unit = 0, tonumber(ARGV[4]) - 1 do
  local prefix, busy = string.format('%04d:', unit), {}
  local offset, reached = 0, false
  repeat -- the one that began before, past expired holds
    local earlier = redis.call('ZREVRANGEBYLEX', KEYS[1], '(' .. prefix .. from, '[' .. prefix, 'LIMIT', offset, 16)
    for i = 1, #earlier do reached = reached or note(busy, earlier[i]) end
    offset = offset + 16
  until reached or #earlier < 16
  local found = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. prefix .. from, '(' .. prefix .. till, 'LIMIT', 0, limit + 1)
  for i = 1, #found do note(busy, found[i]) end
  limit = limit - #found
  if limit < 0 then full, limit = 1, 0 end
  units[#units + 1] = busy
end
return { full, units }
