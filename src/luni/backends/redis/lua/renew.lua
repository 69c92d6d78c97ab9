-- Renew the leases of turns that are still held and not paused, and locks that are still held. (operation Renew)
--
-- KEYS  of a turn: …:locks STRING and …:ctx HASH; of a lock: its STRING and the HASH with its fence
-- ARGV  1 owner|token, 2 ms and 3 the lock's name ('' for a turn), of each
-- Reply {1 or 0 for each}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Notes until when a lock is held, where guarded writes look; nothing is noted there any more once its session has ended.
local function noted(state, name, token, lasts)
  local entries, found = {}, false
  for entry in string.gmatch(redis.call('HGET', state, 'locks') or '', '[^;]+') do
    local of, which = string.match(entry, '^([^,]*),([^,]*),')
    if of == name and which == token then
      found = true
      entry = name .. ',' .. token .. ',' .. string.format('%.0f', ms + tonumber(lasts))
    end
    entries[#entries + 1] = entry
  end
  if found then redis.call('HSET', state, 'locks', table.concat(entries, ';')) end
  return found
end

local held = {}
for i = 1, #KEYS, 2 do
  local n = #held * 3
  local mine = redis.call('GET', KEYS[i]) == ARGV[n + 1]
  if mine and ARGV[n + 3] == '' then
    mine = redis.call('HGET', KEYS[i + 1], 'paused') ~= '1'
  elseif mine then
    mine = noted(KEYS[i + 1], ARGV[n + 3], string.match(ARGV[n + 1], '|(%d+)$'), ARGV[n + 2])
  end
  held[#held + 1] = mine and redis.call('PEXPIRE', KEYS[i], ARGV[n + 2]) or 0
end
return held
