-- Shared by every script of a session; the client puts it in front of each.
--
-- KEYS   1 …:ctx    HASH    fields of the wire, and ours: n settled count tokens folded rev pause fence writers loaded indexed queue
--                    locks lockers (see lock.lua) unsent o:{message id} (a reply that waits to be marked as sent)
--                    stamps t:{field} w:{writer}
--        2 …:msgs   LIST    the newest 20 messages, newest first
--        3 …:locks  STRING  the lease, owner|token; any other form is somebody's and is left alone
--        4 …:seen   HASH    {digest} = n|state|token|attempt|answer|ms · r:{slot} = digest · # = last n · #v = version (on a Cluster)
--        5 …:fold   LIST    messages that left the 20 and wait to be folded, oldest first
--        6 …:log    LIST    transcript, newest first
--        7 id STRING · 8 client STRING · 9 sessions ZSET by activity · 10 waiting ZSET by oldest arrival ·
--        11 channels ZSET by longest ttl in ms · 12 tenants ZSET by when its last session expires
--        13 unsent ZSET by the oldest reply that waits to be marked as sent; only where a script is about those
--        (7 to 13 live in other slots of a Cluster and are absent there)
--
-- pause = until|at|by whom and why: ms, 0 for no end; empty where another program wrote `paused`.
-- queue = ticket,until;… of the turns that wait for the conversation, the first come first
-- t:{field} = clock-writer-seq: when somebody last set focus, summary, paused, m:{key} of metadata, v:{key} of variables
-- A record's state: w waits for an answer · a answered · s settled without one.
-- ARGV   1 writer · 2 seq of every script that leaves a mark; the rest is in each script's header
--
-- Order: mark, then decide, then write. Everything is read before the first write; the first write is an HSET,
-- which maxmemory can refuse; the mark is the last write. Results without effect leave no mark.

local CTX, MSGS, LOCK, SEEN, FOLD, LOG = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ID, CLIENT, SESSIONS, WAITING, CHANNELS, TENANTS, UNSENT = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local WINDOW, FOLD_MAX, RING, WRITERS, UNSENT_MAX, QUEUE_MAX, STAMPS = 20, 100, 128, 64, 100, 64, 512
local HOUR_MS, MINUTE_MS, LIST_MS = 3600000, 60000, 31 * 86400000 -- no session lives longer than 30 days without activity

local TIME = redis.call('TIME')
local US = TIME[1] * 1000000 + TIME[2]
local MS = math.floor(US / 1000)
local NOW = string.format('%.0f', MS) -- numbers given to redis.call are formatted anew each time, and slowly

local function digits(number) return string.format('%.0f', number) end
local function num(text) return tonumber(text) or 0 end

local SESSION, CREATED, ACTIVITY, METADATA, CONTEXT, SUMMARY, FOCUS, PAUSED = 1, 2, 3, 4, 5, 6, 7, 8
local TOKEN_EST, N, SETTLED, COUNT, TOKENS, FOLDED, REV, PAUSE = 9, 10, 11, 12, 13, 14, 15, 16
local FENCE, CLOCK, WRITER_COUNT, INDEXED, QUEUE, MARK = 17, 18, 19, 20, 21, 22

local resumes = false -- a pause is over, and the next HSET says so

local function read_fields(writer)
  local c = redis.call('HMGET', CTX, 'sessionId', 'createdAt', 'lastActivity', 'metadata', 'context', 'summary', 'focus',
    'paused', 'token_est', 'n', 'settled', 'count', 'tokens', 'folded', 'rev', 'pause', 'fence', 'updated_at', 'writers', 'indexed',
    'queue', 'w:' .. writer)
  if c[PAUSE] and c[PAUSE] ~= '' then
    local ends = num(string.match(c[PAUSE], '^(%d+)|'))
    if c[PAUSED] ~= '1' or (ends > 0 and ends <= MS) then c[PAUSED], c[PAUSE], resumes = '0', '', true end
  end
  return c
end

-- 'new'; or 'same' and the result stored with the mark; or 'old'
local function compare_mark(c, seq)
  if not c[MARK] then return 'new' end
  local last, result = string.match(c[MARK], '^(%d+)|%d+|(.*)$')
  if not last or seq > tonumber(last) then return 'new' end
  if seq == tonumber(last) then return 'same', result end
  return 'old'
end

local function drop_longest_unheard()
  local all = redis.call('HGETALL', CTX)
  local oldest, when
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'w:' then
      local ms = num(string.match(all[i + 1], '^%d+|(%d+)|'))
      if not when or ms < when then oldest, when = all[i], ms end
    end
  end
  if oldest then redis.call('HDEL', CTX, oldest) end
end

local function write_mark(c, writer, result)
  if not c[MARK] then
    if num(c[WRITER_COUNT]) >= WRITERS then drop_longest_unheard() else redis.call('HINCRBY', CTX, 'writers', 1) end
  end
  redis.call('HSET', CTX, 'w:' .. writer, ARGV[2] .. '|' .. NOW .. '|' .. result)
end

-- The hybrid clock of the session: the server's, but never back.
local function clock(c) return num(c[CLOCK]) > MS and digits(math.floor(num(c[CLOCK]))) or NOW end

local function stats(c, count)
  return '{"messageCount":' .. digits(count) .. ',"totalTime":' .. digits(MS - num(c[CREATED] or MS)) .. '}'
end

-- The fields of a session that does not exist yet, as arguments of HSET.
local function birth(session, tenant, without_message)
  return { 'sessionId', session, 'clienteId', tenant, 'createdAt', NOW, 'lastActivity', NOW, 'paused', '0',
    'metadata', '{"focoAtual":null,"etapaFunil":"descoberta","primeiraInteracao":' .. tostring(without_message) .. '}',
    'context', '{"messages":[],"variables":{},"tags":[],"ultimaInteracaoTimestamp":' .. NOW .. '}',
    'summary', '', 'focus', '', 'token_est', '0', 'updated_at', NOW }
end


-- What is left of a session whose ctx was evicted is not the next one's.
local function clear_remains() redis.call('DEL', MSGS, FOLD, LOG) end

local function with(fields, more)
  for i = 1, #more do fields[#fields + 1] = more[i] end
  return fields
end

local function hset(fields)
  if resumes then with(fields, { 'paused', '0', 'pause', '' }) end
  redis.call('HSET', CTX, unpack(fields))
end

-- The fields of a session that begins without a message: its numbers go on where the former one's ended.
local function begun_silently(c, session, tenant)
  local seed = digits(num(redis.call('HGET', SEEN, '#')))
  return with(birth(session, tenant, true), { 'n', seed, 'settled', seed, 'stats', stats(c, 0) })
end

-- Adds to the fields when those in `names` were set: length:name, one after the other. Of a session with 512 stamps, only
-- those that are there are renewed.
local function stamp(fields, names, key_clock)
  if names == '' then return end
  local asked, at = { 'stamps' }, 1
  while at <= #names do
    local size, begins = string.match(names, '^(%d+):()', at)
    at = begins + tonumber(size)
    asked[#asked + 1] = 't:' .. string.sub(names, begins, at - 1)
  end
  local found = redis.call('HMGET', CTX, unpack(asked))
  local count, value = num(found[1]), key_clock .. '-' .. ARGV[1] .. '-' .. ARGV[2]
  for i = 2, #asked do
    if not found[i] then count = count + 1 end
    if found[i] or count <= STAMPS then with(fields, { asked[i], value }) end
  end
  with(fields, { 'stamps', digits(math.min(count, STAMPS)) })
end

-- What a stored text begins with; the rest is the client's.
local function item(key_clock, writer, index, n, stamp, body)
  return '{"k":"' .. key_clock .. '-' .. writer .. '-' .. ARGV[2] .. '.' .. index .. '","n":' .. n .. ',"timestamp":' .. stamp .. ',' .. body
end

local function arrival_of(text) return tonumber(string.match(text, '^{"k":"[^"]*","n":(%d+)')) end

-- Puts a message in front of the window; what leaves the 20 waits in fold. Another program may have pushed without trimming:
-- what it pushed leaves, too, at most a hundred at a time.
local function push(text)
  for _ = WINDOW + 1, math.min(redis.call('LPUSH', MSGS, text), WINDOW + FOLD_MAX) do
    redis.call('RPUSH', FOLD, redis.call('RPOP', MSGS))
  end
end

local function transcribe(text, most)
  if most > 0 then
    redis.call('LPUSH', LOG, text)
    redis.call('LTRIM', LOG, 0, most - 1)
  end
end

local function parse_record(text)
  if not text then return nil end
  local n, state, token, attempt, answer, ms = string.match(text, '^(%d+)|(%a)|(%d*)|(%d+)|([^|]*)|(%d+)$')
  if not n then return nil end
  return { n = tonumber(n), state = state, token = token, attempt = tonumber(attempt), answer = answer, ms = tonumber(ms) }
end

local function record_text(r)
  return digits(r.n) .. '|' .. r.state .. '|' .. r.token .. '|' .. digits(r.attempt) .. '|' .. r.answer .. '|' .. digits(r.ms)
end

-- The records of arrivals first..last that are still remembered, in order of arrival.
local function records_of(first, last)
  local found = {}
  first = math.max(first, last - RING + 1)
  if first > last then return found end
  local slots = {}
  for n = first, last do slots[#slots + 1] = 'r:' .. (n % RING) end
  local ids = redis.call('HMGET', SEEN, unpack(slots))
  for i = 1, #ids do
    local r = ids[i] and parse_record(redis.call('HGET', SEEN, ids[i]))
    if r and r.n == first + i - 1 then
      r.id = ids[i]
      found[#found + 1] = r
    end
  end
  return found
end

-- Those of them that wait for an answer.
local function waiting_records(first, last)
  local found = {}
  for _, r in ipairs(records_of(first, last)) do
    if r.state == 'w' then found[#found + 1] = r end
  end
  return found
end

local function write_records(records)
  if #records == 0 then return end
  local fields = {}
  for i = 1, #records do
    fields[2 * i - 1] = records[i].id
    fields[2 * i] = record_text(records[i])
  end
  redis.call('HSET', SEEN, unpack(fields))
end

-- Remembers the arrival in the ring; its slot's former record, settled long ago, is forgotten. `stale` is an older record of
-- the same id, whose slot must not lead to it any more.
local function remember(id, record, former, stale)
  if former and former ~= id then redis.call('HDEL', SEEN, former) end
  if stale then redis.call('HDEL', SEEN, 'r:' .. (stale.n % RING)) end
  redis.call('HSET', SEEN, id, record_text(record), 'r:' .. (record.n % RING), id, '#', digits(record.n))
end

-- Puts a member into a tenant's list, which then lives at least an hour longer than the session.
local function enlist(list, score, member, ttl)
  local life = num(ttl) + HOUR_MS
  if redis.call('ZADD', list, score, member) == 1 and redis.call('PTTL', list) < life then redis.call('PEXPIRE', list, life) end
end

-- Activity: everything of the session expires together from now on.
local function touch(ttl, seen_ttl, member, transcript)
  redis.call('PEXPIRE', CTX, ttl)
  redis.call('PEXPIRE', MSGS, ttl)
  redis.call('PEXPIRE', FOLD, ttl)
  if transcript > 0 then redis.call('PEXPIRE', LOG, ttl) end
  redis.call('PEXPIRE', SEEN, seen_ttl)
  if ID then enlist(SESSIONS, NOW, member, ttl) end
end

-- The id leads to the session for an hour longer than the session lives, so not every activity has to renew it.
local function lead(ttl)
  if ID then redis.call('SET', ID, string.sub(CTX, 1, -5), 'PX', num(ttl) + HOUR_MS) end
end

-- Reads what `touch` and `index` will write, so that a wrong type shows before the first write. The tenant's lists outlive
-- their members by an hour, so a session refreshes them once a minute.
local function read_index(c, member)
  if not ID then return nil end
  redis.call('ZSCORE', WAITING, member)
  redis.call('ZSCORE', SESSIONS, member)
  if c[SESSION] and MS - num(c[INDEXED]) < MINUTE_MS then return nil end
  return {
    oldest = redis.call('ZRANGE', SESSIONS, 0, 1, 'WITHSCORES'),
    longest = redis.call('ZRANGE', CHANNELS, -1, -1, 'WITHSCORES'),
    tenants = redis.call('ZRANGE', TENANTS, 0, 1, 'WITHSCORES'),
    tenants_ttl = redis.call('PTTL', TENANTS),
  }
end

-- The tenant's lists; two expired members leave with every write.
local function index(known, session, ttl, channel, tenant)
  if not ID then return end
  redis.call('SET', CLIENT, session, 'PX', ttl)
  lead(ttl)
  if not known then return end
  local longest = math.max(num(ttl), num(known.longest[2]))
  for i = 1, #known.oldest, 2 do
    if num(known.oldest[i + 1]) < MS - longest then
      redis.call('ZREM', SESSIONS, known.oldest[i])
      redis.call('ZREM', WAITING, known.oldest[i])
    end
  end
  for i = 1, #known.tenants, 2 do
    if num(known.tenants[i + 1]) < MS then redis.call('ZREM', TENANTS, known.tenants[i]) end
  end
  redis.call('ZADD', CHANNELS, 'GT', ttl, channel)
  redis.call('ZADD', TENANTS, 'GT', MS + longest, tenant)
  local life = longest + HOUR_MS
  redis.call('PEXPIRE', SESSIONS, life)
  redis.call('PEXPIRE', CHANNELS, life)
  redis.call('PEXPIRE', WAITING, life)
  redis.call('PEXPIRE', TENANTS, math.max(life, known.tenants_ttl))
  redis.call('HSET', CTX, 'indexed', NOW)
end

-- The turns that wait for the conversation, those whose worker is alive, and which of them is `ticket`.
local function read_queue(c, ticket)
  local queue, mine = {}, nil
  for id, ends in string.gmatch(c[QUEUE] or '', '([^,;]+),(%d+)') do
    if tonumber(ends) > MS then
      queue[#queue + 1] = id .. ',' .. ends
      if id == ticket then mine = #queue end
    end
  end
  return queue, mine
end

-- On a Cluster the tenant's lists are told beforehand what a script does, each time under a higher version; nothing is taken off
-- them under another version than the highest of which the script was executed. So one that comes after a higher one has to be
-- told anew: what it told may have been taken off. The answer of such a script.
local function too_late(version)
  if (version or '') == '' then return nil end
  local highest = num(redis.call('HGET', SEEN, '#v'))
  return tonumber(version) <= highest and { 'late', digits(highest) } or nil
end

local function vouch(version)
  if (version or '') ~= '' then redis.call('HSET', SEEN, '#v', version) end
end

-- When the oldest reply that waits to be marked as sent was stored, without that of `field`.
local function oldest_unsent(field)
  local oldest
  local all = redis.call('HGETALL', CTX)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'o:' and all[i] ~= field then
      local ms = num(string.match(all[i + 1], '^{"k":"[^"]*","n":%d+,"timestamp":(%d+)'))
      if not oldest or ms < oldest then oldest = ms end
    end
  end
  return oldest
end

-- How many ms are left until a burst of messages counts as over: nobody has said anything for `quiet`, or `most` have passed.
local function burst_left(waiting, quiet, most)
  if quiet == 0 or #waiting == 0 then return 0 end
  return math.max(0, math.min(waiting[#waiting].ms + quiet, waiting[1].ms + most) - MS)
end

-- The oldest arrival that waits decides the session's place in the tenant's waiting list.
local function list_waiting(records, member, ttl)
  if not ID then return end
  if #records == 0 then
    redis.call('ZREM', WAITING, member)
  else
    enlist(WAITING, digits(records[1].ms), member, ttl)
  end
end

local function lists() return redis.call('LRANGE', MSGS, 0, -1), redis.call('LRANGE', FOLD, 0, -1) end

local function shown(c)
  local fields = {}
  for i = SESSION, PAUSE do fields[i] = c[i] end
  return fields
end

-- Whether a stored text is another one than a change was made from
local function differs(stored, digest)
  return digest ~= '' and redis.sha1hex(stored or '') ~= digest
end
