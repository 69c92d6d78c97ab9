-- Delete keys that lead nowhere any more, but for locks that were acquired after the erasure. (operation Scrub)
--
-- KEYS  any of …:locks:{name} STRING, luni:lock:{cliente}:{name} STRING, its …:fence HASH, luni:foco:…; all of one person or tenant
-- ARGV  1 when the erasure was (ms)
-- Reply how many locks were deleted

local time = redis.call('TIME')
local now, before = time[1] * 1000000 + time[2], 1000 * tonumber(ARGV[1])
local locks, doomed = 0, {}
for _, key in ipairs(KEYS) do
  local kind, token = redis.call('TYPE', key).ok, nil
  if kind == 'string' then
    token = tonumber(string.match(redis.call('GET', key), '^[^|]*|(%d+)$'))
  elseif kind == 'hash' then
    token = tonumber(redis.call('HGET', key, 'fence') or '')
  end
  if kind ~= 'none' and not (token and token > before + 999 and token <= now) then
    doomed[#doomed + 1] = key
    if kind == 'string' and token then locks = locks + 1 end
  end
end
for _, key in ipairs(doomed) do redis.call('DEL', key) end
return locks
