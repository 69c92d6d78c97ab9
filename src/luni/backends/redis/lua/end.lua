-- End a session: everything of it goes, but the digests of accepted messages stay, so that a late second delivery does not
-- begin a new one. Repeating it does not touch the next session: the id is compared. (operation End)
--
-- ARGV  1 session id · 2 seen's ttl ms · 3 member
-- Reply {'ended'} or {'missing'}

local c = read_fields('')
if c[SESSION] ~= ARGV[1] then return { 'missing' } end
local waiting = waiting_records(num(c[SETTLED]) + 1, num(c[N]))
local lock = redis.call('GET', LOCK)
if ID then redis.call('GET', CLIENT); redis.call('ZSCORE', SESSIONS, ARGV[3]); redis.call('ZSCORE', WAITING, ARGV[3]) end
for i = 1, #waiting do waiting[i].state, waiting[i].token = 's', '' end
write_records(waiting)
redis.call('PEXPIRE', SEEN, ARGV[2])
redis.call('DEL', CTX, MSGS, FOLD, LOG)
if lock and string.match(lock, '^[^|]*|%d+$') then redis.call('DEL', LOCK) end
if ID then
  redis.call('DEL', ID)
  if redis.call('GET', CLIENT) == ARGV[1] then redis.call('DEL', CLIENT) end
  redis.call('ZREM', SESSIONS, ARGV[3])
  redis.call('ZREM', WAITING, ARGV[3])
end
return { 'ended' }
