-- The fields of several sessions. (operation Inspect)
--
-- KEYS  …:ctx HASH of each
-- Reply {fields, …}

local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('HMGET', KEYS[i], 'sessionId', 'createdAt', 'lastActivity', 'metadata', 'context', 'summary', 'focus',
    'paused', 'token_est', 'n', 'settled', 'count', 'tokens', 'folded', 'rev')
end
return found
