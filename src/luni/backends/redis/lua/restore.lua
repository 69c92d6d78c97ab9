-- Make a session what a state says, if what is stored still has a version. Not an activity. (operation Restore)
--
-- KEYS  14 the id of the session that was found, STRING, where it was another one
-- ARGV  1 version ('' for any) · 2 session id ('' for none: what there is ends) · 3 ms of the expiry · 4 ms of seen's ·
--       5 lease ('' for none) · 6 ms of its end · 7 ms of the last activity · 8 ms of the oldest arrival that waits ('' for none) ·
--       9 ms of the oldest reply that waits to be sent ('' for none) · 10 member · 11 channel · 12 tenant ·
--       13 tenant as the wire has it · 14 count · 15 stats · then how many values 16 ctx, 17 msgs, 18 fold, 19 log and 20 seen
--       have, and 21… those values
-- A lease that is the stored one is not shortened. A state whose expiry is past is not stored.
-- Reply {'done'} or {'differs'}

local CHUNK = 4000 -- values of one call: Lua's stack holds 8000
local session, ends, seen_ends, lease, lease_ends = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local member, FORMER, base = ARGV[10], KEYS[14], string.sub(CTX, 1, -5)
local s = read_state()
if ARGV[1] ~= '' and ARGV[1] ~= version_of(s) then return { 'differs' } end
if session ~= '' and ends <= MS then return { 'done' } end

local client, led
if ID then
  client = redis.call('GET', CLIENT)
  led = FORMER and redis.call('GET', FORMER)
  redis.call('GET', ID)
  for _, list in ipairs({ SESSIONS, WAITING, UNSENT }) do redis.call('ZSCORE', list, member) end
  redis.call('ZSCORE', CHANNELS, ARGV[11])
  redis.call('ZSCORE', TENANTS, ARGV[12])
end
local first, last = {}, {} -- of the values of ctx, msgs, fold, log and seen
for i = 1, 5 do
  first[i] = i == 1 and 21 or last[i - 1] + 1
  last[i] = first[i] - 1 + tonumber(ARGV[15 + i])
end
local another = s.id ~= session

local function give(command, key, from, to)
  for i = from, to, CHUNK do redis.call(command, key, unpack(ARGV, i, math.min(i + CHUNK - 1, to))) end
end

local function names(from, to)
  local found = {}
  for i = from, to, 2 do found[ARGV[i]] = true end
  return found
end

local function write_ctx()
  give('HSET', CTX, first[1], last[1])
  if another then redis.call('HSET', CTX, 'clienteId', ARGV[13]) end
  if another or num(s.count) ~= num(ARGV[14]) then redis.call('HSET', CTX, 'stats', ARGV[15]) end
  local new = names(first[1], last[1])
  new.clienteId, new.stats = true, true
  for i = 1, #s.remains, 2 do
    local name = s.remains[i]
    local ours = name == 'metadata' or name == 'context' or name == 'loaded' or name == 'stamps' or string.match(name, '^[wot]:')
    if not new[name] and (another or ours) then redis.call('HDEL', CTX, name) end
  end
end

local function write_list(key, stored, i)
  local same = #stored == last[i] - first[i] + 1
  for j = 1, same and #stored or 0 do same = same and stored[j] == ARGV[first[i] + j - 1] end
  if same and s.id then return end
  redis.call('DEL', key)
  give('RPUSH', key, first[i], last[i])
end

local function write_seen()
  give('HSET', SEEN, first[5], last[5])
  local new = names(first[5], last[5])
  for i = 1, #s.seen, 2 do
    if not new[s.seen[i]] and s.seen[i] ~= '#v' then redis.call('HDEL', SEEN, s.seen[i]) end
  end
  redis.call('PEXPIREAT', SEEN, digits(seen_ends))
end

local function write_lease()
  if s.held and not s.ours then return end -- somebody's
  if lease == '' or lease_ends <= MS then
    redis.call('DEL', LOCK)
  else
    local left = s.held == lease and math.max(s.left, lease_ends - MS) or lease_ends - MS
    redis.call('SET', LOCK, lease, 'PX', digits(left))
  end
end

local function keep(list, life)
  if redis.call('PTTL', list) < life then redis.call('PEXPIRE', list, digits(life)) end
end

-- Puts the member into a list under a score, or takes it out.
local function listed(list, score, life)
  if score == '' then
    redis.call('ZREM', list, member)
  else
    redis.call('ZADD', list, score, member)
    keep(list, life)
  end
end

local function write_index()
  if led == base then redis.call('DEL', FORMER) end
  local mine = not client or client == session or client == s.id
  if session == '' then
    redis.call('ZREM', SESSIONS, member)
    redis.call('ZREM', WAITING, member)
    redis.call('ZREM', UNSENT, member)
    if client and client == s.id then redis.call('DEL', CLIENT) end
    return
  end
  local left = ends - MS
  local life = left + HOUR_MS
  redis.call('SET', ID, base, 'PX', digits(life))
  if mine then redis.call('SET', CLIENT, session, 'PX', digits(left)) end
  listed(SESSIONS, ARGV[7], life)
  listed(WAITING, ARGV[8], life)
  listed(UNSENT, ARGV[9], LIST_MS)
  redis.call('ZADD', CHANNELS, 'GT', digits(math.max(left, ends - tonumber(ARGV[7]))), ARGV[11])
  keep(CHANNELS, life)
  redis.call('ZADD', TENANTS, 'GT', ARGV[3], ARGV[12])
  keep(TENANTS, life)
end

-- effect
if session == '' then
  write_seen()
  redis.call('DEL', CTX, MSGS, FOLD, LOG)
  lease = ''
else
  write_ctx()
  write_list(MSGS, s.msgs, 2)
  write_list(FOLD, s.fold, 3)
  write_list(LOG, s.log, 4)
  write_seen()
  for _, key in ipairs({ CTX, MSGS, FOLD, LOG }) do redis.call('PEXPIREAT', key, ARGV[3]) end
end
write_lease()
if ID then write_index() end
return { 'done' }
