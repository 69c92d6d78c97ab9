-- Erase one conversation as it was at `before`: its session, what ended ones have left, its places in the tenant's lists.
-- Messages that arrived later go on in a session of their own, unanswered ones to be answered; what answers an erased
-- message goes with it; an open turn is fenced. A session that began later is left alone. Repeating it finds nothing to do.
-- (operation Erase)
--
-- KEYS  as in the prelude, of the session with the id ARGV 1; 14 …:claims HASH · 15 the id of the session that goes on, STRING
-- ARGV  1 session id ('' for none) · 2 before, ms · 3 id of the session that goes on · 4 member · 5 tenant
-- Reply {'met', session id} · {'erased', sessions, messages, remembered ids, 1 if a lease was held}

local CLAIMS, FRESH = KEYS[14], KEYS[15]
local before, member = tonumber(ARGV[2]), ARGV[4]
local base = string.sub(CTX, 1, -5)
local c = read_fields('')
local there = c[SESSION]
local function is_later(ms) return ms > before and ms <= MS end -- what is of a time to come is older: the clock has gone back
local later = there and is_later(num(c[CREATED]))
local leads_here = ID and ARGV[1] ~= '' and redis.call('GET', ID) == base
if there and not later and there ~= ARGV[1] then return { 'met', there } end

local records = redis.call('HGETALL', SEEN)
local kept, dropped, answers, waits = {}, {}, {}, {}
for i = 1, #records, 2 do
  local r = parse_record(records[i + 1])
  if r and is_later(r.ms) then
    r.id = records[i]
    kept[#kept + 1] = r
    if r.state == 'w' then waits[#waits + 1] = r end
  elseif records[i] ~= '#' and records[i] ~= '#v' and string.sub(records[i], 1, 2) ~= 'r:' then
    dropped[#dropped + 1] = records[i]
    if r then
      dropped[#dropped + 1] = 'r:' .. (r.n % RING)
      answers[r.answer] = true
    end
  end
end
table.sort(waits, function(one, other) return one.n < other.n end)

local earliest -- when the first of what stays was said

-- Whether a stored text is of after the erasure, and answers nothing that was erased.
local function stays(text)
  local ms, writer, seq = string.match(text, '^{"k":"(%d+)%-([^"]*)%-(%d+)%.%d+",')
  if num(c[CLOCK]) > MS then return false end -- the same
  if ms then return tonumber(ms) > before and not answers[writer .. '.' .. seq] end
  return num(string.match(text, '"timestamp":(%d+)')) > before -- another program's
end

local function staying(texts)
  local found = {}
  for i = 1, #texts do
    if stays(texts[i]) then
      local ms = tonumber(string.match(texts[i], '^{"k":"(%d+)%-')) or num(string.match(texts[i], '"timestamp":(%d+)'))
      earliest = math.min(earliest or ms, ms)
      found[#found + 1] = texts[i]
    end
  end
  return found
end

local msgs, fold = lists()
local log, all = redis.call('LRANGE', LOG, 0, -1), redis.call('HGETALL', CTX)
local new_msgs, new_fold, new_log = staying(msgs), staying(fold), staying(log)
local life, lock = redis.call('PTTL', CTX), redis.call('GET', LOCK)
local goes_on = there and not later and #new_msgs + #new_fold > 0
local claims, client = {}, nil
if ID then
  redis.call('ZCARD', SESSIONS); redis.call('ZCARD', WAITING); redis.call('ZCARD', UNSENT)
  client = redis.call('GET', CLIENT)
  local held = redis.call('HGETALL', CLAIMS)
  for i = 1, #held, 2 do
    if (held[i] .. '|'):find('|' .. member .. '|', 1, true) then claims[#claims + 1] = held[i] end
  end
end

local function fields_that_go_on()
  local fields, unsent, writers = birth(ARGV[3], ARGV[5], false), 0, 0
  local count, tokens = #new_msgs + #new_fold, 0
  for _, texts in ipairs({ new_msgs, new_fold }) do
    for i = 1, #texts do tokens = tokens + num(string.match(texts[i], '"tokens":(%d+)')) end
  end
  for i = 1, #all, 2 do
    local kind = string.sub(all[i], 1, 2)
    if kind == 'w:' and num(string.match(all[i + 1], '^%d+|(%d+)|')) > before then
      with(fields, { all[i], all[i + 1] })
      writers = writers + 1
    elseif kind == 'o:' and stays(all[i + 1]) then
      with(fields, { all[i], all[i + 1] })
      unsent = unsent + 1
    end
  end
  local n = num(c[N])
  c[CREATED] = digits(math.min(earliest or MS, MS)) -- so that a later erasure finds it older than itself
  return with(fields, { 'createdAt', c[CREATED], 'n', digits(n), 'settled', digits(waits[1] and waits[1].n - 1 or n), 'count', digits(count),
    'tokens', digits(tokens), 'unsent', digits(unsent), 'folded', '0', 'rev', '0', 'fence', c[FENCE] or '0', 'writers', digits(writers),
    'stats', stats(c, count) }), unsent
end

local function refill(key, texts)
  if #texts > 0 then
    for i = 1, #texts do redis.call('RPUSH', key, texts[i]) end
    redis.call('PEXPIRE', key, math.max(1, life))
  end
end

local leased = not later and lock and 1 or 0
if not later then
  local fields, unsent = fields_that_go_on()
  redis.call('DEL', CTX, MSGS, FOLD, LOG)
  if not goes_on or string.match(lock or '', '^[^|]*|%d+$') then redis.call('DEL', LOCK) end
  if goes_on then
    redis.call('HSET', CTX, unpack(fields))
    redis.call('PEXPIRE', CTX, math.max(1, life))
    refill(MSGS, new_msgs)
    refill(FOLD, new_fold)
    refill(LOG, new_log)
    if ID then
      redis.call('SET', FRESH, base, 'PX', math.max(1, life) + HOUR_MS)
      list_waiting(waits, member, math.max(1, life))
      if unsent == 0 then redis.call('ZREM', UNSENT, member) end
    end
  elseif ID then
    redis.call('ZREM', SESSIONS, member)
    redis.call('ZREM', WAITING, member)
    redis.call('ZREM', UNSENT, member)
  end
  if #claims > 0 then redis.call('HDEL', CLAIMS, unpack(claims)) end
end
if ID and ARGV[1] ~= '' and ARGV[1] ~= (later and there or '') then
  if leads_here then redis.call('DEL', ID) end
  if client == ARGV[1] then redis.call('DEL', CLIENT) end
end
if #kept == 0 and not (there and later) then
  local version = goes_on and redis.call('HGET', SEEN, '#v')
  redis.call('DEL', SEEN)
  if version then
    redis.call('HSET', SEEN, '#v', version)
    redis.call('PEXPIRE', SEEN, math.max(1, life))
  end
elseif #dropped > 0 then
  redis.call('HDEL', SEEN, unpack(dropped))
  for i = 1, #kept do redis.call('HSET', SEEN, 'r:' .. (kept[i].n % RING), kept[i].id) end -- a slot may have been another's
end
local gone = not later and #msgs + #fold - (goes_on and #new_msgs + #new_fold or 0) or 0
local forgotten = 0
for i = 1, #dropped do
  if string.sub(dropped[i], 1, 2) ~= 'r:' then forgotten = forgotten + 1 end
end
return { 'erased', there and not later and 1 or 0, gone, forgotten, leased }
