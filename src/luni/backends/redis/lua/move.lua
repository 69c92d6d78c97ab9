-- Give a hold or a booking another interval, if that is free, in one step. (operation Move)
--
-- ARGV  1 writer · 2 seq · 3 id · 4 shares · 5 token · 6 grace ms · 7 do replicas have to confirm · 8 start · 9 end
-- Reply {'booked', ms, record} · {'taken', ms, resource} · {'gone' | 'fenced', ms} · {'elsewhere', ms, shares} · {'superseded'}

local places, answer = begin()
if answer then return answer end
local from, till = ARGV[8], ARGV[9]
local all, ends = find(places)
if not all then return ends end
if all[1].state == 'x' then return refuse(places, 'gone') end
if all[1].from == from and all[1].till == till then return as_it_is(places, all[1]) end
for i, place in ipairs(places) do
  place.unit = free_unit(place, from, till, ARGV[3], all[i].unit)
  if not place.unit then return refuse(places, 'taken', place.name) end
end

local keep = digits13(math.max(math.floor(tonumber(till) / 1000), MS) + tonumber(ARGV[6]))
return change(places, all, function(r, place) r.unit, r.from, r.till, r.keep = place.unit, from, till, keep end)
