-- Look through all bookings of a resource, rebuild from them what conflicts and lists are found by, and report.
-- (operation Reconcile)
--
-- KEYS as in the prelude, of one resource
-- ARGV  1 resource · 2 at most so many bookings
-- Reply {bookings, missing, orphans, {id, id, … that overlap, in pairs}, {id, … that cannot be read}, are there more (1/0)}

local place = { name = ARGV[1], records = KEYS[3], timeline = KEYS[4], due = KEYS[5] }
if redis.call('HLEN', place.records) > tonumber(ARGV[2]) then return { 0, 0, 0, {}, {}, 1 } end
local all, there = redis.call('HGETALL', place.records), redis.call('ZRANGE', place.timeline, 0, -1)
redis.call('ZCARD', place.due)
redis.call('ZCARD', KEYS[1])
redis.call('ZCARD', KEYS[2])

local wanted, listed, members, damaged, bookings, longest = {}, {}, {}, {}, 0, 0
for i = 1, #all, 2 do
  local r = parse(all[i], all[i + 1])
  if not r then
    damaged[#damaged + 1] = all[i]
  elseif not over(r) then
    longest = math.max(longest, tonumber(r.keep))
    redis.call('ZADD', place.due, r.state == 'h' and r.ends or r.keep, r.id)
    if r.state ~= 'x' then
      bookings = bookings + 1
      wanted[member_of(r)] = true
      members[#members + 1] = member_of(r)
      if leads(place, r) then listed[#listed + 1] = customer_of(place, r) end
    end
  end
end
table.sort(members)
local overlaps = {}
for i = 2, #members do
  local unit, till, before = string.match(members[i - 1], '^(%d+):%d+:(%d+):%d+:(.*)$')
  local same, from, id = string.match(members[i], '^(%d+):(%d+):%d+:%d+:(.*)$')
  if unit == same and tonumber(till) > tonumber(from) then
    overlaps[#overlaps + 1] = before
    overlaps[#overlaps + 1] = id
  end
end

local missing, orphans, found = 0, 0, {}
for _, member in ipairs(there) do
  found[member] = true
  if not wanted[member] then
    redis.call('ZREM', place.timeline, member)
    orphans = orphans + 1
  end
end
for _, member in ipairs(members) do
  if not found[member] then
    redis.call('ZADD', place.timeline, 0, member)
    missing = missing + 1
  end
end
for _, member in ipairs(listed) do redis.call('ZADD', KEYS[1], 0, member) end
if bookings > 0 then redis.call('ZADD', KEYS[2], 'GT', longest, place.name) end
local life = longest - MS + 60000
for _, key in ipairs(longest > 0 and { KEYS[1], KEYS[2], place.records, place.timeline, place.due } or {}) do
  if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, string.format('%.0f', life)) end
end
return { bookings, missing, orphans, overlaps, damaged, 0 }
