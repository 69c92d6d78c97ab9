-- Shared by every script of an agenda; the client puts it in front of each.
--
-- KEYS   1 luni:agenda:{cliente}:customers ZSET, ordered by member: by:start:resource:id of what is held or confirmed
--        2 luni:agenda:{cliente}:over ZSET of the same members by when they are over (ms)
--        3 luni:agenda:{cliente}:resources ZSET of resources by when their last booking is over (ms)
--        4 luni:lock:{cliente}:{resource} STRING, the lock of the resource by which the caller speaks of the booking
--        then of each resource, the leading one first:
--        5 luni:agenda:{cliente}:{resource}:records HASH  id = state|unit|start|end|until|keep|created|by|shares|details
--        6 luni:…:timeline ZSET, ordered by member: unit:start:end:until:id of what is held or confirmed
--        7 luni:…:due ZSET of ids by when they are over (ms)
--        8 luni:…:marks HASH  {writer} = seq|ms|result; only the leading one's is used (9 to 12 the next one's, and so on)
--
-- state: h held until `until`, c confirmed, x cancelled. unit has 4 digits, start and end 17 (µs), until and keep 13 (ms): so they
-- compare as text. shares = resource/capacity,… · details is the client's JSON and never looked into.
-- ARGV   1 writer · 2 seq · 3 id · 4 shares · 5 token ('' for none) · 6 grace ms · 7 do replicas have to confirm (1/0) ·
--        8 start · 9 end · the rest is in each script's header
--
-- A unit's bookings are disjoint, so the predecessor's end decides whether an interval is free. Order: mark, token, effect.
-- Everything is read before the first write, which is one that maxmemory can refuse; the mark is the last write.
-- Refusals leave a mark, too: a late copy of an attempt that was refused must not succeed when the slot is free again.
-- A line of ARGV 7: replicas confirm what this connection has written, so with 1 a repetition writes its mark again.
-- Reply {'booked', ms, record} · {'taken', ms, resource} · {'gone' | 'reused' | 'fenced', ms} · {'elsewhere', ms, shares} ·
--       {'superseded'} · {'damaged'}

local CUSTOMERS, OVER, RESOURCES, LOCK = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIRST, PER, AT_ONCE, PURGED, MARKS = 5, 4, 16, 4, 64
local NEVER = '9999999999999'
local TIME = redis.call('TIME')
local MS = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local NOW = string.format('%.0f', MS)

local function digits13(number) return string.format('%013.0f', math.min(number, 9999999999998)) end

local function parse(id, text)
  local state, unit, from, till, ends, keep, created, by, shares, details =
    string.match(text or '', '^([hcx])|(%d%d%d%d)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|(.*)$')
  return state and { id = id, state = state, unit = unit, from = from, till = till, ends = ends, keep = keep, created = created, by = by,
    shares = shares, details = details }
end

local function text_of(r)
  return r.state .. '|' .. r.unit .. '|' .. r.from .. '|' .. r.till .. '|' .. r.ends .. '|' .. r.keep .. '|' .. r.created .. '|' ..
    r.by .. '|' .. r.shares .. '|' .. r.details
end

-- Of which resources, whatever their capacity is said to be.
local function resources_of(shares) return (string.gsub(shares, '/%d+', '')) end

local function member_of(r) return r.unit .. ':' .. r.from .. ':' .. r.till .. ':' .. r.ends .. ':' .. r.id end

local function over_at(r) return r.state == 'h' and r.ends or r.keep end

local function over(r) return tonumber(over_at(r)) <= MS end

-- The booking of an id, if it is there and not over.
local function booking(place, id)
  local text = redis.call('HGET', place.records, id)
  local r = parse(id, text)
  if text and not r then error('DAMAGED a booking') end
  if r and not over(r) then return r end
end

-- The resources that ARGV[4] names, with their keys.
local function read_places(shares)
  local places = {}
  for name, capacity in string.gmatch(shares, '([^,/]+)/(%d+)') do
    local first = FIRST + PER * #places
    places[#places + 1] = { name = name, capacity = tonumber(capacity), records = KEYS[first], timeline = KEYS[first + 1],
      due = KEYS[first + 2], marks = KEYS[first + 3] }
  end
  for _, place in ipairs(places) do -- what is written later: a wrong type shows now
    redis.call('ZCARD', place.timeline)
    redis.call('HLEN', place.marks)
    place.purged = redis.call('ZRANGEBYSCORE', place.due, '-inf', NOW, 'LIMIT', 0, PURGED)
    place.past = {}
    for _, id in ipairs(place.purged) do place.past[id] = redis.call('HGET', place.records, id) or nil end
  end
  redis.call('ZCARD', CUSTOMERS)
  redis.call('ZCARD', RESOURCES)
  places.over = redis.call('ZRANGEBYSCORE', OVER, '-inf', NOW, 'LIMIT', 0, PURGED)
  return places
end

-- Whether a unit of a resource is free; `id`'s own booking is no obstacle.
local function is_free(place, unit, from, till, id)
  local offset = 0
  while true do
    local found = redis.call('ZREVRANGEBYLEX', place.timeline, '(' .. unit .. ':' .. till, '[' .. unit .. ':', 'LIMIT', offset, AT_ONCE)
    for i = 1, #found do
      local ends_at, until_ms, whose = string.match(found[i], '^%d+:%d+:(%d+):(%d+):(.*)$')
      if whose ~= id and tonumber(until_ms) > MS then return tonumber(ends_at) <= tonumber(from) end
    end
    if #found < AT_ONCE then return true end
    offset = offset + AT_ONCE
  end
end

-- The first unit that is free, or the one it has.
local function free_unit(place, from, till, id, has)
  if has and is_free(place, has, from, till, id) then return has end
  for unit = 0, place.capacity - 1 do
    local name = string.format('%04d', unit)
    if is_free(place, name, from, till, id) then return name end
  end
end

local function customer_of(place, r) return r.by .. ':' .. r.from .. ':' .. place.name .. ':' .. r.id end

local function leads(place, r) return string.sub(r.shares, 1, #place.name + 1) == place.name .. '/' end

-- Takes a booking out of what conflicts and lists are found by; its record stays.
local function unlist(place, r)
  redis.call('ZREM', place.timeline, member_of(r))
  if leads(place, r) then
    redis.call('ZREM', CUSTOMERS, customer_of(place, r))
    redis.call('ZREM', OVER, customer_of(place, r))
  end
end

-- Forgets what is over, some with every change; what cannot be read is left as it is.
local function purge(place, id)
  for _, past in ipairs(place.purged) do
    local r = parse(past, place.past[past])
    if past ~= id and not (r and not over(r)) then
      redis.call('ZREM', place.due, past)
      if r then
        unlist(place, r)
        redis.call('HDEL', place.records, past)
      end
    end
  end
end

-- Stores a booking at one of its resources, in place of `before`.
local function put(place, r, before)
  redis.call('HSET', place.records, r.id, text_of(r))
  if before then unlist(place, before) end
  if r.state ~= 'x' then
    redis.call('ZADD', place.timeline, 0, member_of(r))
    if leads(place, r) then
      redis.call('ZADD', CUSTOMERS, 0, customer_of(place, r))
      redis.call('ZADD', OVER, over_at(r), customer_of(place, r))
    end
  end
  redis.call('ZADD', place.due, over_at(r), r.id)
  redis.call('ZADD', RESOURCES, 'GT', over_at(r), place.name)
  purge(place, r.id)
  local life = tonumber(r.keep) - MS + 60000
  for _, key in ipairs({ CUSTOMERS, OVER, RESOURCES, place.records, place.timeline, place.due }) do
    if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, string.format('%.0f', life)) end
  end
end

-- 'new'; or 'same' and the result stored with the mark; or 'old'
local function compare_mark(places)
  local last, result = string.match(redis.call('HGET', places[1].marks, ARGV[1]) or '', '^(%d+)|%d+|(.*)$')
  if not last or tonumber(ARGV[2]) > tonumber(last) then return 'new' end
  if tonumber(ARGV[2]) == tonumber(last) then return 'same', result end
  return 'old'
end

local function write_mark(places, result)
  local marks = places[1].marks
  if redis.call('HSET', marks, ARGV[1], ARGV[2] .. '|' .. NOW .. '|' .. result) == 1 and redis.call('HLEN', marks) > MARKS then
    local all, longest, when = redis.call('HGETALL', marks), nil, nil
    for i = 1, #all, 2 do
      local ms = tonumber(string.match(all[i + 1], '^%d+|(%d+)|')) or 0
      if not when or ms < when then longest, when = all[i], ms end
    end
    redis.call('HDEL', marks, longest)
  end
  local life = math.max(redis.call('PTTL', places[1].records), tonumber(ARGV[6]), 60000)
  if redis.call('PTTL', marks) < life then redis.call('PEXPIRE', marks, string.format('%.0f', life)) end
end

local function refuse(places, state, more)
  write_mark(places, state .. ',' .. (more or ''))
  return { state, NOW, more or '' }
end

local function booked(r) return { 'booked', NOW, text_of(r) } end

-- What was answered the first time; where replicas have to confirm, something is written again, for them to confirm it.
local function answered_before(places, result)
  local state, more = string.match(result, '^(%a+),(.*)$')
  if ARGV[7] == '1' then write_mark(places, result) end
  if state ~= 'booked' then return { state, NOW, more } end
  local text = redis.call('HGET', places[1].records, ARGV[3])
  return text and { 'booked', NOW, text } or { 'gone', NOW }
end

-- Nothing is to be changed; a late copy of this must not change it later, either.
local function as_it_is(places, r)
  write_mark(places, 'booked,')
  return booked(r)
end

-- Takes what is left of a booking whose record is lost out of the timeline.
local function forget(place, id)
  for _, member in ipairs(redis.call('ZRANGE', place.timeline, 0, -1)) do
    if string.sub(member, 56) == id then redis.call('ZREM', place.timeline, member) end
  end
  redis.call('ZREM', place.due, id)
end

-- Changes a booking at all its resources, and says what is stored now.
local function change(places, all, alter)
  for i, place in ipairs(places) do
    if all[i] then
      local before = {}
      for field, value in pairs(all[i]) do before[field] = value end
      alter(all[i], place)
      put(place, all[i], before)
    else
      forget(place, ARGV[3])
    end
  end
  for _, member in ipairs(places.over) do
    local score = redis.call('ZSCORE', OVER, member) -- a change may have made it last longer
    if score and tonumber(score) <= MS then
      redis.call('ZREM', CUSTOMERS, member)
      redis.call('ZREM', OVER, member)
    end
  end
  redis.call('ZREMRANGEBYSCORE', RESOURCES, '-inf', '(' .. NOW)
  write_mark(places, 'booked,')
  return booked(all[1])
end

-- What every change looks at first: an answer if it ends there.
local function begin()
  local places = read_places(ARGV[4])
  local kind, result = compare_mark(places)
  if kind == 'old' then return places, { 'superseded' } end
  if kind == 'same' then return places, answered_before(places, result) end
  if ARGV[5] ~= '' and string.match(redis.call('GET', LOCK) or '', '^[^|]*|(%d+)$') ~= ARGV[5] then
    return places, { 'fenced', NOW }
  end
  return places
end

-- The booking that a change is about, at all its resources; or an answer if it ends there. With `halves`, one that was lost at
-- some of them will do.
local function find(places, halves)
  local r = booking(places[1], ARGV[3])
  if not r then return nil, refuse(places, 'gone') end
  if resources_of(r.shares) ~= resources_of(ARGV[4]) then return nil, { 'elsewhere', NOW, r.shares } end
  local all = { r }
  for i = 2, #places do
    all[i] = booking(places[i], ARGV[3])
    if not all[i] and not halves then error('DAMAGED a booking') end
  end
  return all
end
