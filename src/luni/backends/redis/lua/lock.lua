-- Acquire a named lock, or keep a place in its queue. Leaves no mark: the owner is the operation. (operation Lock)
--
-- KEYS  1 luni:lock:{cliente}:{name} STRING, or luni:sess:…:locks:{name}: owner|token; any other form is somebody's, left alone
--       2 luni:lock:{cliente}:{name}:fence HASH, or the session's ctx: fence = last token · locks = name,token,until;… of those
--         held · lockers = name,owner,until;… of those who wait, the first come first · unlocked = owner,until;… of those
--         who released lately: a late copy of their request must not take the lock for nobody
-- ARGV  1 owner · 2 name · 3 ttl ms · 4 for how many ms a place in the queue is kept (0: does not wait) ·
--       5 for how many ms the hash is kept (0: it is a session's, which must be there)
-- Reply {'acquired', token} · {'held', ms it is still held, how many wait before} · {'no_session'} · {'full'}

local lock, state = KEYS[1], KEYS[2]
local owner, name, waits = ARGV[1], ARGV[2], tonumber(ARGV[4])
local MOST, MOST_OF_ALL = 64, 512
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local ms = math.floor(us / 1000)

local function digits(number) return string.format('%.0f', number) end

local value = redis.call('GET', lock)
local kept = redis.call('HMGET', state, 'fence', 'locks', 'lockers', 'sessionId', 'unlocked')
local held_by, token = string.match(value or '', '^([^|]*)|(%d+)$')
if held_by == owner then return { 'acquired', token } end
if ARGV[5] == '0' and not kept[4] then return { 'no_session' } end
for who, till in string.gmatch(kept[5] or '', '([^,;]+),(%d+)') do
  if who == owner and tonumber(till) > ms then return { 'held', '0', '0' } end
end

local queue, ahead, place = {}, 0, nil -- others who wait and live; how many of them before this owner; where it stands itself
for entry in string.gmatch(kept[3] or '', '[^;]+') do
  local of, who, till = string.match(entry, '^([^,]*),([^,]*),(%d+)$')
  if of and tonumber(till) > ms then
    if of == name and who == owner then
      place = #queue + 1
    else
      queue[#queue + 1] = entry
      if of == name and not place then ahead = ahead + 1 end
    end
  end
end
if value or ahead > 0 then
  if waits > 0 and not place and (ahead >= MOST or #queue >= MOST_OF_ALL) then return { 'full' } end
  if waits > 0 then table.insert(queue, place or #queue + 1, name .. ',' .. owner .. ',' .. digits(ms + waits)) end
  if waits > 0 or place then
    redis.call('HSET', state, 'lockers', table.concat(queue, ';'))
    if ARGV[5] ~= '0' then redis.call('PEXPIRE', state, ARGV[5]) end
  end
  return { 'held', digits(value and redis.call('PTTL', lock) or 0), digits(ahead) }
end

local held = {}
for entry in string.gmatch(kept[2] or '', '[^;]+') do
  local of, till = string.match(entry, '^([^,]*),%d+,(%d+)$')
  if of and of ~= name and tonumber(till) > ms then held[#held + 1] = entry end
end
if #held >= MOST then return { 'full' } end
token = digits(math.max((tonumber(kept[1]) or 0) + 1, us))
held[#held + 1] = name .. ',' .. token .. ',' .. digits(ms + tonumber(ARGV[3]))
redis.call('HSET', state, 'fence', token, 'locks', table.concat(held, ';'), 'lockers', table.concat(queue, ';'))
if ARGV[5] ~= '0' then redis.call('PEXPIRE', state, ARGV[5]) end
redis.call('SET', lock, owner .. '|' .. token, 'PX', ARGV[3])
return { 'acquired', token }
