-- Store a turn's answer, settle what it had seen, and release the lease or keep it for newer messages. (operation Reply)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 owner of the lease · 8 token · 9 cut ·
--       10 lease ms · 11 state of what is settled (a answered, s skipped) · 12 answer's id · 13 metadata digest · 14 metadata ·
--       15 context digest · 16 context · 17 are 13 and 15 the caller's changes (1) or a refresh, skipped on a difference (0) ·
--       18 focus given (1/0) · 19 focus · 20 folded when the summary was made · 21 messages it folds · 22 summary ·
--       23 digest of the summary it was made from · 24 token_est · 25 tokens of the messages · 26 transcript length ·
--       27 which message is the first that waits to be marked as sent (0: none) · 28 the fields that are set, length:name each ·
--       29 on a Cluster, the version under which the tenant's lists were told of this · 30… message bodies
-- Order: mark, pause, token, effect. The messages are placed after the cut, before what arrived meanwhile. A reply that lost its
-- mark to a later operation of its writer is told by its records.
-- Reply {'released' | 'kept', ms, clock, cut, attempt, fields, msgs, fold} or {'superseded'} · {'full'} ·
--       {'fenced', why} · {'changed', metadata, context} · {'late', version}: the lists have to be told anew

local writer, seq, session, ttl, seen_ttl, member = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local token, cut, lease, settle_as = ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11]
local c = read_fields(writer)

local function answer(state, key_clock, new_cut, attempt, at)
  if state ~= 'kept' then return { state, at, key_clock, new_cut, attempt, {}, {}, {} } end
  local msgs, fold = lists()
  return { state, at, key_clock, new_cut, attempt, shown(c), msgs, fold }
end

local owned = redis.call('GET', LOCK) == ARGV[7] .. '|' .. token

-- A later operation of this writer has taken the mark; the records say whether this very reply was stored.
local function told_by_records()
  local stored = false
  for _, r in ipairs(records_of(1, cut)) do stored = stored or r.answer == ARGV[12] end
  if not stored then return { 'superseded' } end
  local newer = {}
  for _, r in ipairs(owned and waiting_records(cut + 1, num(c[N])) or {}) do
    if r.token == token then newer[#newer + 1] = r end -- what it was given then; what came later comes with its next reply
  end
  if #newer == 0 then return answer('released', clock(c), ARGV[9], '0', NOW) end
  return answer('kept', clock(c), digits(newer[#newer].n), digits(newer[1].attempt), NOW)
end

local kind, marked = compare_mark(c, seq)
if kind == 'old' then return told_by_records() end
if kind == 'same' then
  local state, key_clock, new_cut, attempt, at = string.match(marked, '^(%a+),(%d+),(%d+),(%d+),(%d+)$')
  if not state then return { 'superseded' } end
  return answer(state, key_clock, new_cut, attempt, at)
end
if c[SESSION] ~= session then return { 'fenced', 'ended' } end
if c[PAUSED] == '1' then return { 'fenced', 'paused' } end
if not owned then return { 'fenced', 'lease' } end
local changed_metadata, changed_context = differs(c[METADATA], ARGV[13]), differs(c[CONTEXT], ARGV[15])
if ARGV[17] == '1' and (changed_metadata or changed_context) then
  return { 'changed', c[METADATA] or '', c[CONTEXT] or '' }
end
local n, settled = num(c[N]), num(c[SETTLED])
if cut > n then return { 'fenced', 'lease' } end
local answered, newer = waiting_records(settled + 1, cut), waiting_records(math.max(cut, settled) + 1, n)
for i = 1, #answered do
  if answered[i].token ~= token then return { 'fenced', 'lease' } end -- a cut that this turn was not given
end
local hands_over = #read_queue(c) > 0
local waits, head = redis.call('LLEN', FOLD), redis.call('LINDEX', MSGS, 0)
read_index(c, member)
local most = tonumber(ARGV[26])
if most > 0 then redis.call('LLEN', LOG) end
local added, first_unsent = #ARGV - 29, tonumber(ARGV[27])
local unsent = first_unsent > 0 and num(redis.call('HGET', CTX, 'unsent')) + added - first_unsent + 1
if unsent and unsent > UNSENT_MAX then return { 'full' } end
if unsent and UNSENT then redis.call('ZSCORE', UNSENT, member) end
local late = too_late(ARGV[29])
if late then return late end

-- effect
local key_clock, now, opened_at = clock(c), NOW, num(c[ACTIVITY])
local count, tokens, rev = num(c[COUNT]) + added, num(c[TOKENS]) + num(ARGV[25]), num(c[REV])
local folds = num(ARGV[21])
if num(c[FOLDED]) ~= num(ARGV[20]) or folds > waits or differs(c[SUMMARY], ARGV[23]) then folds = 0 end
local fields = { 'lastActivity', now, 'updated_at', key_clock, 'count', digits(count), 'tokens', digits(tokens),
  'settled', digits(math.max(settled, cut)), 'token_est', ARGV[24], 'stats', stats(c, count) }
if ARGV[13] ~= '' and not changed_metadata then with(fields, { 'metadata', ARGV[14] }); c[METADATA] = ARGV[14] end
if ARGV[15] ~= '' and not changed_context then with(fields, { 'context', ARGV[16] }); c[CONTEXT] = ARGV[16] end
if ARGV[18] == '1' then with(fields, { 'focus', ARGV[19] }); c[FOCUS] = ARGV[19] end
if ARGV[17] == '1' or ARGV[18] == '1' then rev = rev + 1; with(fields, { 'rev', digits(rev) }) end
stamp(fields, ARGV[28], key_clock)
if folds > 0 then
  c[FOLDED], c[SUMMARY] = digits(num(c[FOLDED]) + folds), ARGV[22]
  with(fields, { 'summary', ARGV[22], 'folded', c[FOLDED] })
end
hset(fields)
vouch(ARGV[29])
c[COUNT], c[TOKENS], c[SETTLED], c[REV], c[TOKEN_EST] = digits(count), digits(tokens), digits(math.max(settled, cut)), digits(rev), ARGV[24]
c[ACTIVITY] = now
if folds > 0 then redis.call('LTRIM', FOLD, folds, -1) end

local later = {}
local function take_newer(list, pop, peek)
  while true do
    local text = redis.call('LINDEX', list, peek)
    local arrived = text and arrival_of(text)
    if not text or (arrived and arrived <= cut) then return text end
    later[#later + 1] = redis.call(pop, list)
  end
end
if added > 0 and head and not ((arrival_of(head) or cut + 1) <= cut) then
  if not take_newer(MSGS, 'LPOP', 0) then take_newer(FOLD, 'RPOP', -1) end
end
for i = 1, added do
  local text = item(key_clock, writer, i - 1, ARGV[9], now, ARGV[29 + i])
  push(text)
  if unsent and i >= first_unsent then redis.call('HSET', CTX, 'o:' .. ARGV[12] .. '.' .. (i - 1), text) end
  transcribe(text, most)
end
for i = #later, 1, -1 do push(later[i]) end

for i = 1, #answered do
  answered[i].state, answered[i].answer, answered[i].token = settle_as, ARGV[12], ''
end
write_records(answered)
local state, new_cut, attempt = 'released', digits(cut), '0'
if #newer > 0 and not hands_over then
  state, new_cut = 'kept', digits(n)
  for i = 1, #newer do newer[i].token, newer[i].attempt = token, newer[i].attempt + 1 end
  attempt = digits(newer[1].attempt)
  write_records(newer)
  redis.call('PEXPIRE', LOCK, lease)
else
  redis.call('DEL', LOCK)
end
touch(ttl, seen_ttl, member, most)
if MS - opened_at > HOUR_MS / 2 then lead(ttl) end
list_waiting(newer, member, ttl)
if unsent then
  redis.call('HSET', CTX, 'unsent', unsent)
  if UNSENT then
    redis.call('ZADD', UNSENT, 'NX', now, member)
    redis.call('PEXPIRE', UNSENT, LIST_MS)
  end
end
write_mark(c, writer, table.concat({ state, key_clock, new_cut, attempt, now }, ','))
return answer(state, key_clock, new_cut, attempt, now)
