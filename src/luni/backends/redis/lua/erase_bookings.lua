-- Erase a person's bookings of one resource, or everybody's, some at a time. Their slots are free. (operation EraseBookings)
--
-- KEYS as in the prelude, of one resource
-- ARGV  1 resource · 2 whose ('' for everybody's) · 3 when the erasure was (ms): what was booked later stays · 4 cursor ·
--       5 how many to look at
-- Reply {how many were erased, cursor}

local place = { name = ARGV[1], records = KEYS[FIRST], timeline = KEYS[FIRST + 1], due = KEYS[FIRST + 2], marks = KEYS[FIRST + 3] }
local by, before = ARGV[2], tonumber(ARGV[3])
redis.call('ZCARD', place.timeline)
redis.call('ZCARD', place.due)
redis.call('ZCARD', CUSTOMERS)
redis.call('ZCARD', OVER)
redis.call('ZCARD', RESOURCES)
local page = redis.call('HSCAN', place.records, ARGV[4], 'COUNT', ARGV[5])

local erased = 0
for i = 1, #page[2], 2 do
  local id, text = page[2][i], page[2][i + 1]
  local r = parse(id, text)
  if r and (by == '' or r.by == by) and (tonumber(r.created) <= before or tonumber(r.created) > MS) then
    unlist(place, r)
    redis.call('ZREM', place.due, id)
    redis.call('HDEL', place.records, id)
    erased = erased + 1
  elseif not r and (by == '' or string.find(text, '|' .. by .. '|', 1, true)) then -- what cannot be read is erased, too
    forget(place, id)
    redis.call('HDEL', place.records, id)
    erased = erased + 1
  end
end
if page[1] ~= '0' then return { erased, page[1] } end

local members = redis.call('ZRANGEBYLEX', CUSTOMERS, by == '' and '-' or '[' .. by .. ':', by == '' and '+' or '(' .. by .. ';')
for _, member in ipairs(members) do -- of bookings whose record was lost
  local name, id = string.match(member, '^[^:]*:%d+:([^:]*):(.*)$')
  if name == place.name and not redis.call('HGET', place.records, id) then
    redis.call('ZREM', CUSTOMERS, member)
    redis.call('ZREM', OVER, member)
    forget(place, id)
  end
end
if redis.call('HLEN', place.records) == 0 then
  if by == '' then redis.call('DEL', place.timeline, place.due, place.marks) end
  redis.call('ZREM', RESOURCES, place.name)
end
return { erased, '0' }
