-- A page of the bookings that a resource leads, also expired and cancelled ones. (operation BookingsOf)
--
-- KEYS  1 luni:agenda:{cliente}:{resource}:records HASH
-- ARGV  1 cursor · 2 how many to look at · 3 whose ('' for everybody's) · 4 resource
-- Reply {cursor, {id, record, …}}

local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local found, first = {}, ARGV[4] .. '/'
for i = 1, #page[2], 2 do
  local by, shares = string.match(page[2][i + 1], '^[hcx]|%d+|%d+|%d+|%d+|%d+|%d+|([^|]*)|([^|]*)|')
  if by and (ARGV[3] == '' or by == ARGV[3]) and string.sub(shares, 1, #first) == first then
    found[#found + 1] = page[2][i]
    found[#found + 1] = page[2][i + 1]
  end
end
return { page[1], found }
