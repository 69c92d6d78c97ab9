-- Pause a session, or resume it. A turn that is open loses its lease. (operation Pause)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 channel · 8 tenant · 9 may create (1/0) ·
--       10 tenant as the wire has it · 11 pause (1) or resume (0) · 12 for how many ms (0: until somebody resumes) ·
--       13 by whom and why, as JSON
-- Reply {'done'} or {'idle'}: it was not paused · {'session', id} · {'superseded'}

local writer, seq, session, ttl, seen_ttl, member = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local c = read_fields(writer)
local kind = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'done' } end
local exists, pauses = c[SESSION], ARGV[11] == '1'
if exists and c[SESSION] ~= session then return { 'session', c[SESSION] } end
if not pauses and (not exists or c[PAUSED] ~= '1') then return { 'idle' } end
if not exists and ARGV[9] ~= '1' then return { 'session', '' } end
local lock = redis.call('GET', LOCK)
local known = read_index(c, member)
local fields = exists and {} or begun_silently(c, session, ARGV[10])

-- effect
resumes = false
local ends = ARGV[12] == '0' and '0' or digits(MS + tonumber(ARGV[12]))
stamp(fields, '6:paused', clock(c))
hset(with(fields, { 'lastActivity', NOW, 'updated_at', clock(c), 'paused', ARGV[11],
  'pause', pauses and ends .. '|' .. NOW .. '|' .. ARGV[13] or '' }))
if not exists then clear_remains() end
if pauses and lock and string.match(lock, '^[^|]*|%d+$') then redis.call('DEL', LOCK) end
touch(ttl, seen_ttl, member, 1)
index(known, session, ttl, ARGV[7], ARGV[8])
write_mark(c, writer, '')
return { 'done' }
