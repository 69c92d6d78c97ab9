-- Release a named lock that is still its owner's, and give up a place in its queue. (operation Unlock)
--
-- KEYS  1 luni:lock:{cliente}:{name} STRING, or luni:sess:…:locks:{name} · 2 luni:lock:{cliente}:{name}:fence HASH, or the session's ctx
-- ARGV  1 owner · 2 name · 3 token ('0': whichever it got)
-- Reply 1 if it was held

local held_by, token = string.match(redis.call('GET', KEYS[1]) or '', '^([^|]*)|(%d+)$')
local lists = redis.call('HMGET', KEYS[2], 'locks', 'lockers')
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

if mine then redis.call('DEL', KEYS[1]) end
local was_held, held = without(lists[1], mine and token or '|')
local waited, queue = without(lists[2], ARGV[1])
if was_held then redis.call('HSET', KEYS[2], 'locks', held) end
if waited then redis.call('HSET', KEYS[2], 'lockers', queue) end
return mine and 1 or 0
