-- Cancel a hold or a booking; its id stays known until it would have been forgotten. (operation Cancel)
--
-- ARGV  1 writer · 2 seq · 3 id · 4 shares · 5 token · 6 grace ms · 7 do replicas have to confirm
-- Reply {'booked', ms, record} · {'gone' | 'fenced', ms} · {'elsewhere', ms, shares} · {'superseded'}

local places, answer = begin()
if answer then return answer end
local all, ends = find(places, true)
if not all then return ends end
if all[1].state == 'x' then return as_it_is(places, all[1]) end

return change(places, all, function(r) r.state, r.ends = 'x', NEVER end)
