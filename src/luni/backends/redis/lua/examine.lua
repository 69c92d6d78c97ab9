-- What a sweeper has to know of sessions before it claims them. (operation Examine)
--
-- KEYS  …:ctx HASH and …:locks STRING of each
-- ARGV  1 waiting or unsent
-- Reply {{session id, paused (1/0), leased (1/0), does an answer wait (1/0), texts that wait to be sent}, …}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i = 1, #KEYS, 2 do
  local c = redis.call('HMGET', KEYS[i], 'sessionId', 'paused', 'pause', 'n', 'settled')
  local ends = tonumber(c[3] and string.match(c[3], '^(%d+)|')) or 0
  local paused = c[2] == '1' and (ends == 0 or ends > ms)
  local texts = {}
  if ARGV[1] == 'unsent' then
    local all = redis.call('HGETALL', KEYS[i])
    for j = 1, #all, 2 do
      if string.sub(all[j], 1, 2) == 'o:' then texts[#texts + 1] = all[j + 1] end
    end
  end
  local waits = c[1] and (tonumber(c[4]) or 0) > (tonumber(c[5]) or 0)
  found[#found + 1] = { c[1] or '', paused and 1 or 0, redis.call('EXISTS', KEYS[i + 1]), waits and 1 or 0, texts }
end
return found
