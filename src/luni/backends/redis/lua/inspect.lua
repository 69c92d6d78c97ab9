-- The fields of several sessions. (operation Inspect)
--
-- KEYS  …:ctx HASH of each
-- Reply {fields, …}

local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local found = {}
for i = 1, #KEYS do
  local c = redis.call('HMGET', KEYS[i], 'sessionId', 'createdAt', 'lastActivity', 'metadata', 'context', 'summary', 'focus',
    'paused', 'token_est', 'n', 'settled', 'count', 'tokens', 'folded', 'rev', 'pause')
  local ends = tonumber(c[16] and string.match(c[16], '^(%d+)|')) or 0
  if ends > 0 and ends <= ms then c[8], c[16] = '0', '' end
  found[i] = c
end
return found
