-- Replace what is held of a conversation, if it is still what the new state was made from. (operation Load)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 channel · 8 tenant · 9 may create (1/0) ·
--       10 tenant as the wire has it · 11 digest of msgs and fold · 12 added messages · 13 added tokens · 14 summary · 15 folded ·
--       16 digest of the import · 17 length of msgs · 18 number of ids to remember · then those ids' digests, the texts of
--       msgs, newest first, and those of fold, oldest first
-- Reply {'loaded', messages added} or {'changed'} · {'session', id} · {'superseded'}

local writer, seq, session, ttl, seen_ttl, member = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local c = read_fields(writer)
local kind = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'loaded', ARGV[12] } end
local exists = c[SESSION]
if exists and c[SESSION] ~= session then return { 'session', c[SESSION] } end
if not exists and ARGV[9] ~= '1' then return { 'session', '' } end
if redis.call('HGET', CTX, 'loaded') == ARGV[16] then return { 'loaded', 0 } end
local msgs, fold = lists()
if not exists then msgs, fold = {}, {} end
if redis.sha1hex(table.concat(msgs) .. '\n' .. table.concat(fold)) ~= ARGV[11] then return { 'changed' } end
local known = read_index(c, member)
local n = math.max(num(c[N]), num(redis.call('HGET', SEEN, '#')))
local waiting = exists and waiting_records(num(c[SETTLED]) + 1, n) or {}
local new = {}
for i = 19, 18 + tonumber(ARGV[18]) do
  if not redis.call('HGET', SEEN, ARGV[i]) then new[#new + 1] = ARGV[i] end
end
if waiting[1] and n + #new - waiting[1].n >= RING then new = {} end -- what waits is never pushed out of the ring

local count = num(c[COUNT]) + tonumber(ARGV[12])
local fields = exists and {} or birth(session, ARGV[10], false)
hset(with(fields, { 'count', digits(count), 'tokens', digits(num(c[TOKENS]) + tonumber(ARGV[13])), 'summary', ARGV[14], 'folded', ARGV[15], 'loaded', ARGV[16],
  'lastActivity', NOW, 'updated_at', clock(c), 'stats', stats(c, count) }))
if not exists then clear_remains() end
redis.call('DEL', MSGS, FOLD)
local first = 19 + tonumber(ARGV[18])
local last = first - 1 + tonumber(ARGV[17])
for i = first, #ARGV do redis.call('RPUSH', i <= last and MSGS or FOLD, ARGV[i]) end
for i = 1, #new do
  n = n + 1
  remember(new[i], { n = n, state = 's', token = '', attempt = 0, answer = '', ms = MS }, redis.call('HGET', SEEN, 'r:' .. (n % RING)))
end
redis.call('HSET', CTX, 'n', digits(n), 'settled', digits(#waiting == 0 and n or waiting[1].n - 1))
touch(ttl, seen_ttl, member, 1)
index(known, session, ttl, ARGV[7], ARGV[8])
write_mark(c, writer, '')
return { 'loaded', ARGV[12] }
