-- Append messages to a conversation without a turn. (operation Append)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 channel · 8 tenant · 9 may create (1/0) ·
--       10 settles what came before (1/0) · 11 transcript length · 12 tenant as the wire has it · 13 answer's id · 14 digest ('' for none) ·
--       15 timestamp ms ('' for the server's) · 16 tokens · 17 body
-- Reply {'appended' | 'duplicate', ms, session id, arrival, clock, timestamp, msgs of a duplicate, fold of a duplicate}
--       or {'session', id} · {'superseded'} · {'full'} · {'fold'}

local writer, seq, session, ttl, seen_ttl, member = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local digest = ARGV[14]
local c = read_fields(writer)
local kind, marked = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then
  local arrival, key_clock, stamp = string.match(marked, '^appended,(%d+),(%d+),(%d+)$')
  if not arrival then return { 'superseded' } end
  return { 'appended', NOW, c[SESSION], arrival, key_clock, stamp, {}, {} }
end
local exists, n, settled = c[SESSION], num(c[N]), num(c[SETTLED])
local held, waits = redis.call('LLEN', MSGS), redis.call('LLEN', FOLD)
local remembered = redis.call('HMGET', SEEN, digest, '#')
local record = digest ~= '' and parse_record(remembered[1])
if record and (exists or record.state ~= 'w') then
  local msgs, fold = lists()
  return { 'duplicate', NOW, c[SESSION] or '', digits(record.n), '0', '0', msgs, fold }
end
if not exists then
  if ARGV[9] ~= '1' then return { 'session', '' } end
  n = math.max(n, num(remembered[2]))
  settled, held, waits = n, 0, 0
elseif c[SESSION] ~= session then
  return { 'session', c[SESSION] }
end
local others = waiting_records(settled + 1, n)
settled = others[1] and others[1].n - 1 or n
local former
if digest ~= '' then
  n = math.max(n, num(remembered[2])) + 1
  if n - settled > RING then return { 'full' } end
  former = redis.call('HGET', SEEN, 'r:' .. (n % RING))
end
if waits >= FOLD_MAX and held >= WINDOW then return { 'fold' } end
local most = tonumber(ARGV[11])
if most > 0 then redis.call('LLEN', LOG) end
local known = read_index(c, member)

-- effect
local key_clock, now = clock(c), NOW
local stamp = ARGV[15] ~= '' and ARGV[15] or now
local count = num(c[COUNT]) + 1
if ARGV[10] == '1' or #others == 0 then settled = n end
hset(with(exists and {} or birth(session, ARGV[12], false), { 'n', digits(n), 'settled', digits(settled), 'count', digits(count),
  'tokens', digits(num(c[TOKENS]) + num(ARGV[16])), 'token_est', digits(num(c[TOKEN_EST]) + num(ARGV[16])),
  'lastActivity', now, 'updated_at', key_clock, 'stats', stats(c, count) }))
if not exists then clear_remains() end
local text = item(key_clock, writer, 0, digits(n), stamp, ARGV[17])
push(text)
transcribe(text, most)
if digest ~= '' then
  remember(digest, { n = n, state = 's', token = '', attempt = 0, answer = '', ms = MS }, former, record)
end
if ARGV[10] == '1' then
  for i = 1, #others do others[i].state, others[i].answer, others[i].token = 'a', ARGV[13], '' end
  write_records(others)
  others = {}
end
touch(ttl, seen_ttl, member, most)
list_waiting(others, member, ttl)
index(known, session, ttl, ARGV[7], ARGV[8])
write_mark(c, writer, table.concat({ 'appended', digits(n), key_clock, stamp }, ','))
return { 'appended', now, session, digits(n), key_clock, stamp, {}, {} }
