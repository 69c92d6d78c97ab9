-- Fold the oldest waiting messages into the summary if nobody folded meanwhile. A fold is not activity. (operation Fold)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 folded when the summary was made · 5 messages it folds · 6 summary ·
--       7 digest of the summary it was made from
-- Reply {'folded'} or {'stale'} · {'superseded'}

local writer, seq = ARGV[1], tonumber(ARGV[2])
local c = read_fields(writer)
local kind = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'folded' } end
local count = tonumber(ARGV[5])
if c[SESSION] ~= ARGV[3] or num(c[FOLDED]) ~= tonumber(ARGV[4]) or redis.call('LLEN', FOLD) < count
  or differs(c[SUMMARY], ARGV[7]) then return { 'stale' } end

hset({ 'summary', ARGV[6], 'folded', digits(num(c[FOLDED]) + count), 'updated_at', clock(c) })
redis.call('LTRIM', FOLD, count, -1)
write_mark(c, writer, '')
return { 'folded' }
