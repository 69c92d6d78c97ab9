-- A page of what is stored of a person or a tenant: members of one list, or names of keys. (operation Traces)
--
-- The keys it reads beside KEYS are those that SCAN gives, on this server; none is built.
--
-- KEYS  1 luni:tenant:{cliente}:sessions, …:waiting, …:unsent or luni:agenda:{cliente}:customers, a ZSET, on a Cluster also …:listed, a
--       HASH; none: the keyspace
-- ARGV  1 cursor · 2 pattern · 3 how many to look at · of the keyspace also: 4 what the keys of session ids begin with ·
--       5 and 6 what the base keys they lead to begin and end with · 7 what is within a key of interest · 8… what it begins with
-- Reply {cursor, {member or key, …}, {key of a session id, the base key it leads to, …}}

local function begins(text, first) return string.sub(text, 1, #first) == first end

local found, ids = {}, {}
if KEYS[1] then
  local page
  if redis.call('TYPE', KEYS[1]).ok == 'hash' then
    page = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
  else
    page = redis.call('ZSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
  end
  for i = 1, #page[2], 2 do found[#found + 1] = page[2][i] end
  return { page[1], found, ids }
end
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, key in ipairs(page[2]) do
  if begins(key, ARGV[4]) and not string.find(key, ':', #ARGV[4] + 1, true) then
    local base = redis.pcall('GET', key) -- of another type it is nobody's session id
    if type(base) == 'string' and begins(base, ARGV[5]) and string.sub(base, -#ARGV[6]) == ARGV[6] then
      ids[#ids + 1] = key
      ids[#ids + 1] = base
    end
  else
    for i = 8, #ARGV do
      if begins(key, ARGV[i]) and (i > 9 or string.find(key, ARGV[7], 1, true)) then
        found[#found + 1] = key
        break
      end
    end
  end
end
return { page[1], found, ids }
