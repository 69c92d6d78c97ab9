-- Take over a booking as it is in another store. (operation Adopt)
--
-- ARGV  1 writer · 2 seq · 3 id · 4 shares · 5 token · 6 grace ms · 7 do replicas have to confirm · 8 state · 9 start · 10 end ·
--       11 until · 12 keep · 13 created · 14 by · 15 the unit at each resource, 4 digits each · 16 details
-- Reply {'booked', ms, record} · {'taken', ms, resource} · {'gone' | 'reused' | 'fenced', ms} · {'superseded'}

local places, answer = begin()
if answer then return answer end
local id, state, from, till, ends, keep = ARGV[3], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
if tonumber(state == 'h' and ends or keep) <= MS then return refuse(places, 'gone') end
for i, place in ipairs(places) do
  local r = booking(place, id)
  if r then
    local same = r.state == state and r.from == from and r.till == till and r.by == ARGV[14] and r.details == ARGV[16]
      and r.ends == ends and resources_of(r.shares) == resources_of(ARGV[4])
    if same and i == 1 then return as_it_is(places, r) end
    return refuse(places, 'reused')
  end
end
for i, place in ipairs(places) do
  local unit = string.sub(ARGV[15], 4 * i - 3, 4 * i)
  place.unit = state == 'x' and unit or free_unit(place, from, till, id, unit)
  if not place.unit then return refuse(places, 'taken', place.name) end
end

local all = {}
for i, place in ipairs(places) do
  all[i] = parse(id, redis.call('HGET', place.records, id)) or { id = id, state = 'x', unit = '', from = '', till = '', ends = '', by = '', shares = '' }
end

-- effect: in place of a hold of this id that expired
return change(places, all, function(r, place)
  r.state, r.unit, r.from, r.till, r.ends, r.keep = state, place.unit, from, till, ends, keep
  r.created, r.by, r.shares, r.details = ARGV[13], ARGV[14], ARGV[4], ARGV[16]
end)
