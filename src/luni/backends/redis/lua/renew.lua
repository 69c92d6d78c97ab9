-- Renew the leases of turns that are still held and not paused, and locks that are still held. (operation Renew)
--
-- KEYS  of a turn: …:locks STRING and …:ctx HASH; of a lock: its STRING and the HASH with its fence
-- ARGV  1 owner|token, 2 ms, 3 the lock's name ('' for a turn) and 4 for how many ms its HASH is kept (0: a session's), of each
--
-- A key of a wrong type costs its own lease and nobody else's. The first write is one that a full server does not refuse, so nobody loses a lease because memory is short.
-- Reply {1 or 0 for each}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- The list in which guarded writes look for what is held, with a later end; nothing if the lock is not there (any more).
local function renewed(state, name, token, lasts)
  local entries, found = {}, false
  local list = redis.pcall('HGET', state, 'locks')
  for entry in string.gmatch(type(list) == 'string' and list or '', '[^;]+') do
    local of, which = string.match(entry, '^([^,]*),([^,]*),')
    if of == name and which == token then
      found = true
      entry = name .. ',' .. token .. ',' .. string.format('%.0f', ms + tonumber(lasts))
    end
    entries[#entries + 1] = entry
  end
  return found and table.concat(entries, ';')
end

local held = {}
for i = 1, #KEYS, 2 do
  local n = #held * 4
  local lasts, name, kept = ARGV[n + 2], ARGV[n + 3], ARGV[n + 4]
  local mine, list = redis.pcall('GET', KEYS[i]) == ARGV[n + 1], nil
  if mine and name == '' then
    local paused = redis.pcall('HGET', KEYS[i + 1], 'paused')
    mine = type(paused) ~= 'table' and paused ~= '1'
  elseif mine then
    list = renewed(KEYS[i + 1], name, string.match(ARGV[n + 1], '|(%d+)$'), lasts)
    mine = list
  end
  held[#held + 1] = mine and redis.call('PEXPIRE', KEYS[i], lasts) or 0
  if list then redis.call('HSET', KEYS[i + 1], 'locks', list) end
  if list and kept ~= '0' then redis.call('PEXPIRE', KEYS[i + 1], kept) end
end
return held
