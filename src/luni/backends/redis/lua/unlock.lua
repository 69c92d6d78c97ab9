-- Release a named lock that is still its owner's, and give up a place in its queue. (operation Unlock)
--
-- KEYS  1 luni:lock:{cliente}:{name} STRING, or luni:sess:…:locks:{name} · 2 luni:lock:{cliente}:{name}:fence HASH, or the session's ctx
-- ARGV  1 owner · 2 name · 3 token ('0': whichever it got) ·
--       4 for how many ms the hash is kept (0: it is a session's)
-- Reply 1 if it was held

local REMEMBERED, LATE_MS = 32, 300000
local held_by, token = string.match(redis.call('GET', KEYS[1]) or '', '^([^|]*)|(%d+)$')
local lists = redis.call('HMGET', KEYS[2], 'locks', 'lockers', 'unlocked')
local mine = held_by == ARGV[1] and (ARGV[3] == '0' or token == ARGV[3])

local function without(text, who)
  local kept, gone = {}, false
  for entry in string.gmatch(text or '', '[^;]+') do
    if string.sub(entry, 1, #ARGV[2] + #who + 2) == ARGV[2] .. ',' .. who .. ',' then
      gone = true
    else
      kept[#kept + 1] = entry
    end
  end
  return gone, table.concat(kept, ';')
end

-- Who released lately, with this owner: a late copy of its request must not take the lock for nobody.
local function unlocked()
  local time, entries = redis.call('TIME'), {}
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  for who, till in string.gmatch(lists[3] or '', '([^,;]+),(%d+)') do
    if tonumber(till) > ms and who ~= ARGV[1] then entries[#entries + 1] = who .. ',' .. till end
  end
  while #entries >= REMEMBERED do table.remove(entries, 1) end
  entries[#entries + 1] = ARGV[1] .. ',' .. string.format('%.0f', ms + LATE_MS)
  return table.concat(entries, ';')
end

if mine then redis.call('DEL', KEYS[1]) end
local was_held, held = without(lists[1], mine and token or '|')
local waited, queue = without(lists[2], ARGV[1])
if ARGV[4] ~= '0' or redis.call('EXISTS', KEYS[2]) == 1 then
  local fields = { 'unlocked', unlocked() }
  if was_held then fields[3], fields[4] = 'locks', held end
  if waited then fields[#fields + 1] = 'lockers'; fields[#fields + 1] = queue end
  redis.call('HSET', KEYS[2], unpack(fields))
  if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
end
return mine and 1 or 0
