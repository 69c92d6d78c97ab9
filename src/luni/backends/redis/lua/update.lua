-- Change fields of a session under a compare with what they were made from. (operation Update)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 channel · 8 tenant · 9 may create (1/0) ·
--       10 tenant as the wire has it · 11 expected revision ('' for any) · 12 metadata digest · 13 metadata · 14 context digest ·
--       15 context · 16 focus given (1/0) · 17 focus · 18 summary given (1/0) · 19 summary ·
--       20 token of a lock of the session that must be held ('' for none) · 21 the fields that are set, length:name each
-- Reply {'updated', revision} or {'conflict', revision} · {'changed', metadata, context, session id} · {'session', id} · {'superseded'} · {'fenced'}

local writer, seq, session, ttl, seen_ttl, member = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local c = read_fields(writer)
local kind, marked = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'updated', marked } end
if ARGV[20] ~= '' then
  local held = false
  for token, till in string.gmatch(c[SESSION] and redis.call('HGET', CTX, 'locks') or '', ',(%d+),(%d+)') do
    held = held or (token == ARGV[20] and tonumber(till) > MS)
  end
  if not held then return { 'fenced' } end
end
local exists = c[SESSION]
if exists and c[SESSION] ~= session then return { 'session', c[SESSION] } end
if ARGV[11] ~= '' and num(c[REV]) ~= tonumber(ARGV[11]) then return { 'conflict', digits(num(c[REV])) } end
if not exists and ARGV[9] ~= '1' then return { 'session', '' } end
if exists and (differs(c[METADATA], ARGV[12]) or differs(c[CONTEXT], ARGV[14])) then
  return { 'changed', c[METADATA] or '', c[CONTEXT] or '' }
end
local known = read_index(c, member)
local fields = exists and {} or begun_silently(c, session, ARGV[10])

-- effect
local rev = digits(num(c[REV]) + 1)
with(fields, { 'lastActivity', NOW, 'updated_at', clock(c), 'rev', rev })
if ARGV[12] ~= '' then with(fields, { 'metadata', ARGV[13] }) end
if ARGV[14] ~= '' then with(fields, { 'context', ARGV[15] }) end
if ARGV[16] == '1' then with(fields, { 'focus', ARGV[17] }) end
if ARGV[18] == '1' then with(fields, { 'summary', ARGV[19] }) end
stamp(fields, ARGV[21], clock(c))
hset(fields)
if not exists then clear_remains() end
touch(ttl, seen_ttl, member, 1)
index(known, session, ttl, ARGV[7], ARGV[8])
write_mark(c, writer, rev)
return { 'updated', rev }
