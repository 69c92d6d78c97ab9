-- Accept a message and, if asked to, lease the conversation for its turn. (operations Receive and Open)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member of the tenant's lists · 7 channel · 8 tenant ·
--       9 may the session id be used for a new session (1/0) · 10 lease ms (0: receive only) · 11 message digest ('' for none) ·
--       12 message body · 13 timestamp ms ('' for the server's) · 14 tokens · 15 transcript length · 16 tenant as the wire has it ·
--       17 what the lease's owner ends with, known to nobody else · 18 quiet ms a burst ends with (0: no gathering) · 19 most ms of a burst ·
--       20 ticket of a turn that waits its turn ('' for none) · 21 for how many ms the ticket holds (0: given up) ·
--       22 on a Cluster, the version under which the tenant's lists were told of this
-- Order: mark, message id, pause, lease, effect.
-- Reply {state, ms, session id, token, cut, attempt, created, arrival, clock, timestamp, answer, fields, msgs, fold, ms to gather}
--       or {'session', id} · {'superseded'} · {'full'} · {'fold'} · {'late', version}: the lists have to be told anew

local writer, seq, session, ttl, seen_ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local member, lease, digest = ARGV[6], tonumber(ARGV[10]), ARGV[11]
local c = read_fields(writer)

local msgs, fold

local function answer(state, token, cut, attempt, created, arrival, key_clock, stamp, answered, left)
  if not msgs then
    msgs, fold = {}, {}
    if lease > 0 or state == 'duplicate' then msgs, fold = lists() end
  end
  return { state, NOW, c[SESSION] or '', token, cut, attempt, created, arrival, key_clock, stamp, answered, shown(c), msgs, fold, left or '0' }
end

local kind, marked = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then
  local state, token, cut, attempt, created, arrival, key_clock, stamp, left =
    string.match(marked, '^([%a_]+),(%d*),(%d+),(%d+),(%d),(%d+),(%d+),(%d+),(%d+)$')
  if not state then return { 'superseded' } end
  return answer(state, token, cut, attempt, created, arrival, key_clock, stamp, '', left)
end

local queue, mine = read_queue(c, ARGV[20])

local function write_queue(waits)
  if waits then
    queue[mine or #queue + 1] = ARGV[20] .. ',' .. digits(MS + tonumber(ARGV[21]))
  elseif mine then
    table.remove(queue, mine)
  end
  if waits or mine then redis.call('HSET', CTX, 'queue', table.concat(queue, ';')) end
end

local exists, n, settled = c[SESSION], num(c[N]), num(c[SETTLED])
if lease > 0 then msgs, fold = lists() end
local held = msgs and #msgs or redis.call('LLEN', MSGS)
local waiting_fold = fold and #fold or redis.call('LLEN', FOLD)
local lock = redis.call('GET', LOCK)
local live = lock and string.match(lock, '|(%d+)$')
local next_slot = 'r:' .. ((n + 1) % RING)
local remembered = redis.call('HMGET', SEEN, digest, '#', next_slot)
local record = digest ~= '' and parse_record(remembered[1]) or nil
if record and record.state ~= 'w' then
  write_queue(false)
  return answer('duplicate', '', '0', '0', '0', digits(record.n), '0', '0', record.answer)
end
-- an unsettled record whose text is gone (the session expired meanwhile) is stored anew
local stale
if record and (not exists or held == 0 or record.n <= settled) then record, stale = nil, record end
if record and lease == 0 then
  return answer('duplicate', '', '0', '0', '0', digits(record.n), '0', '0', '')
end

if not exists then
  if digest == '' then return answer('idle', '', '0', '0', '0', '0', '0', '0', '') end
  if ARGV[9] ~= '1' then return { 'session', '' } end
  n = math.max(n, num(remembered[2]))
  settled, held, waiting_fold = n, 0, 0
elseif c[SESSION] ~= session then
  return { 'session', c[SESSION] }
end

local others = waiting_records(settled + 1, n)
settled = others[1] and others[1].n - 1 or n
if digest == '' and #others == 0 then return answer('idle', '', '0', '0', '0', '0', '0', '0', '') end

local state
if lease == 0 then
  state = 'accepted'
elseif c[PAUSED] == '1' then
  state = 'paused'
elseif lock and record and record.token == live then
  state = 'in_progress'
elseif lock or (mine or #queue + 1) > 1 then
  state = ARGV[20] ~= '' and ARGV[21] ~= '0' and (mine or #queue < QUEUE_MAX) and 'queued' or 'joined'
else
  state = 'open'
end
if state ~= 'open' and (record or digest == '') then
  write_queue(state == 'queued')
  return answer(state, '', digits(n), '0', '0', record and digits(record.n) or '0', '0', '0', '')
end

local new = digest ~= '' and not record
local former
if new then
  n = math.max(n, num(remembered[2])) + 1
  if n - settled > RING then return { 'full' } end
  if waiting_fold >= FOLD_MAX and held >= WINDOW then return { 'fold' } end
  local slot = 'r:' .. (n % RING)
  if slot == next_slot then former = remembered[3] else former = redis.call('HGET', SEEN, slot) end
end
local most = tonumber(ARGV[15])
if most > 0 then redis.call('LLEN', LOG) end
local known = read_index(c, member)
local late = too_late(ARGV[22])
if late then return late end

-- effect
local key_clock, now = clock(c), NOW
local stamp = ARGV[13] ~= '' and ARGV[13] or now
local count, tokens = num(c[COUNT]), num(c[TOKENS])
local fields = exists and {} or birth(session, ARGV[16], false)
if new then
  count, tokens = count + 1, tokens + num(ARGV[14])
  c[TOKEN_EST] = digits(num(c[TOKEN_EST]) + num(ARGV[14]))
end
local token, cut, attempt = '', digits(n), '0'
if state == 'open' and record and #queue > 1 then cut = digits(record.n) end -- what came later is for those who wait
if state == 'open' then
  token = digits(math.max(num(c[FENCE]) + 1, US))
  with(fields, { 'fence', token })
end
hset(with(fields, { 'n', digits(n), 'settled', digits(settled), 'count', digits(count), 'tokens', digits(tokens),
  'lastActivity', now, 'updated_at', key_clock, 'token_est', c[TOKEN_EST] or '0', 'stats', stats(c, count) }))
vouch(ARGV[22])
if not exists then
  clear_remains()
  if msgs then msgs, fold = {}, {} end
  local fresh = read_fields(writer)
  for i = SESSION, MARK do c[i] = fresh[i] end
end
c[N], c[SETTLED], c[COUNT], c[TOKENS], c[ACTIVITY] = digits(n), digits(settled), digits(count), digits(tokens), now

if new then
  local text = item(key_clock, writer, 0, digits(n), stamp, ARGV[12])
  push(text)
  if msgs then
    table.insert(msgs, 1, text)
    for _ = WINDOW + 1, math.min(#msgs, WINDOW + FOLD_MAX) do fold[#fold + 1] = table.remove(msgs) end
  end
  transcribe(text, most)
end
if state == 'open' then
  local mine_to_answer = {}
  for i = 1, #others do
    if others[i].n <= tonumber(cut) then
      others[i].token, others[i].attempt = token, others[i].attempt + 1
      mine_to_answer[#mine_to_answer + 1] = others[i]
    end
  end
  write_records(mine_to_answer)
  attempt = digits(others[1] and others[1].attempt or 1)
end
if new then
  record = { id = digest, n = n, state = 'w', token = token, attempt = state == 'open' and 1 or 0, answer = '', ms = MS }
  remember(digest, record, former, stale)
  others[#others + 1] = record
end
local left = 0
if state == 'open' then
  left = burst_left(others, tonumber(ARGV[18]), tonumber(ARGV[19]))
  redis.call('SET', LOCK, writer .. '.' .. ARGV[2] .. '.' .. ARGV[17] .. '|' .. token, 'PX', lease + left)
end
write_queue(state == 'queued')
left = digits(left)
touch(ttl, seen_ttl, member, most)
list_waiting(others, member, ttl)
index(known, session, ttl, ARGV[7], ARGV[8])
local created = exists and '0' or '1'
local arrival = record and digits(record.n) or '0'
write_mark(c, writer, table.concat({ state, token, cut, attempt, created, arrival, key_clock, stamp, left }, ','))
return answer(state, token, cut, attempt, created, arrival, key_clock, stamp, '', left)
