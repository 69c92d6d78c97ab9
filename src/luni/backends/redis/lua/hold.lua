-- Take an interval until it is confirmed. (operation Hold)
--
-- ARGV  1 writer · 2 seq · 3 id · 4 shares · 5 token · 6 grace ms · 7 do replicas have to confirm · 8 start · 9 end ·
--       10 for how many ms it is held · 11 by · 12 details
-- Reply {'booked', ms, record} · {'taken', ms, resource} · {'reused' | 'fenced', ms} · {'superseded'}

local places, answer = begin()
if answer then return answer end
local from, till, id, by = ARGV[8], ARGV[9], ARGV[3], ARGV[11]
for i, place in ipairs(places) do
  local r = booking(place, id)
  if r then
    local same = r.state ~= 'x' and r.from == from and r.till == till and r.by == by
      and resources_of(r.shares) == resources_of(ARGV[4])
    if same and i == 1 then return as_it_is(places, r) end
    return refuse(places, 'reused')
  end
end
for _, place in ipairs(places) do
  place.unit = free_unit(place, from, till, id)
  if not place.unit then return refuse(places, 'taken', place.name) end
end

-- effect
local keep = digits13(math.max(math.floor(tonumber(till) / 1000), MS) + tonumber(ARGV[6]))
local first
for _, place in ipairs(places) do
  local r = { id = id, state = 'h', unit = place.unit, from = from, till = till, ends = digits13(MS + tonumber(ARGV[10])), keep = keep,
    created = NOW, by = by, shares = ARGV[4], details = ARGV[12] }
  put(place, r, parse(id, redis.call('HGET', place.records, id))) -- in place of a hold of this id that expired
  first = first or r
end
write_mark(places, 'booked,')
return booked(first)
