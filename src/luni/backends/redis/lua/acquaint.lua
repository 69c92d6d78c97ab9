-- Which server this is: the name its data was given, and that of its process. (operation Acquaint)
--
-- KEYS  1 luni:generation STRING the name; no expiry: without it, everything was lost
-- ARGV  1 the name that data without one gets
-- Reply {name, run id or ''}

local name = redis.call('GET', KEYS[1])
if not name then
  name = ARGV[1]
  redis.call('SET', KEYS[1], name)
end
local info = redis.pcall('INFO', 'server')
return { name, type(info) == 'string' and string.match(info, 'run_id:(%x+)') or '' }
