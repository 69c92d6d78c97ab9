-- Look through all bookings of a resource, rebuild from them what conflicts and lists are found by, and report. What has no
-- record that can be read keeps its place: it may be somebody's booking. (operation Reconcile)
--
-- KEYS as in the prelude, of one resource
-- ARGV  1 resource · 2 at most so many bookings · 3… ids of which everything is to be forgotten
-- Reply {bookings, missing, orphans, {id, id, … that overlap, in pairs}, {id, … that cannot be read}, are there more (1/0)}

local place = { name = ARGV[1], records = KEYS[FIRST], timeline = KEYS[FIRST + 1], due = KEYS[FIRST + 2] }
if redis.call('HLEN', place.records) > tonumber(ARGV[2]) then return { 0, 0, 0, {}, {}, 1 } end
redis.call('ZCARD', place.due)
redis.call('ZCARD', CUSTOMERS)
redis.call('ZCARD', OVER)
redis.call('ZCARD', RESOURCES)
local gone = {}
for i = 3, #ARGV do gone[ARGV[i]] = true end
local all, there = redis.call('HGETALL', place.records), redis.call('ZRANGE', place.timeline, 0, -1)

local wanted, records, members, damaged, seen, bookings, longest = {}, {}, {}, {}, {}, 0, 0
for i = 1, #all, 2 do
  local r = parse(all[i], all[i + 1])
  if gone[all[i]] then
    if r then unlist(place, r) end
    redis.call('HDEL', place.records, all[i])
    redis.call('ZREM', place.due, all[i])
  elseif not r then
    damaged[#damaged + 1], seen[all[i]] = all[i], true
  else
    records[r.id] = r
    if not over(r) then
      longest = math.max(longest, tonumber(r.keep))
      redis.call('ZADD', place.due, over_at(r), r.id)
      if r.state ~= 'x' then
        bookings = bookings + 1
        wanted[member_of(r)], members[#members + 1] = r, member_of(r)
      end
    end
  end
end

local missing, orphans, found = 0, 0, {}
for _, member in ipairs(there) do
  local until_ms, id = tonumber(string.sub(member, 42, 54)), string.sub(member, 56)
  found[member] = true
  if gone[id] then
    redis.call('ZREM', place.timeline, member)
  elseif not wanted[member] and not records[id] and until_ms > MS then
    if not seen[id] then damaged[#damaged + 1], seen[id] = id, true end
    members[#members + 1] = member
  elseif not wanted[member] and until_ms > MS then
    redis.call('ZREM', place.timeline, member)
    orphans = orphans + 1
  end
end
for member, r in pairs(wanted) do
  if not found[member] then
    redis.call('ZADD', place.timeline, 0, member)
    missing = missing + 1
  end
  if leads(place, r) then
    redis.call('ZADD', CUSTOMERS, 0, customer_of(place, r))
    redis.call('ZADD', OVER, over_at(r), customer_of(place, r))
  end
end
if bookings > 0 then redis.call('ZADD', RESOURCES, 'GT', longest, place.name) end

table.sort(members)
local overlaps = {}
for i = 2, #members do
  local before, member = members[i - 1], members[i]
  if string.sub(before, 1, 4) == string.sub(member, 1, 4) and tonumber(string.sub(before, 24, 40)) > tonumber(string.sub(member, 6, 22)) then
    overlaps[#overlaps + 1] = string.sub(before, 56)
    overlaps[#overlaps + 1] = string.sub(member, 56)
  end
end
local life = longest - MS + 60000
for _, key in ipairs(longest > 0 and { CUSTOMERS, OVER, RESOURCES, place.records, place.timeline, place.due } or {}) do
  if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, string.format('%.0f', life)) end
end
return { bookings, missing, orphans, overlaps, damaged, 0 }
