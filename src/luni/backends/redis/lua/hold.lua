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

local keep = digits13(math.max(math.floor(tonumber(till) / 1000), MS) + tonumber(ARGV[6]))
local all = {}
for i, place in ipairs(places) do
  all[i] = parse(id, redis.call('HGET', place.records, id)) or { id = id, state = 'x', unit = '', from = '', till = '', ends = '', by = '', shares = '' }
end

-- effect: in place of a hold of this id that expired
return change(places, all, function(r, place)
  r.state, r.unit, r.from, r.till, r.ends, r.keep = 'h', place.unit, from, till, digits13(MS + tonumber(ARGV[10])), keep
  r.created, r.by, r.shares, r.details = NOW, by, ARGV[4], ARGV[12]
end)
