-- What a tenant's lists have to know of a session, where they lie in another slot. Writes nothing. (operation of a Cluster, with every write)
--
-- Reply {session id, last activity, highest version that is true, oldest arrival that waits, oldest reply that waits to be sent, until when
--        it lives (ms)}, '' for none

local c = read_fields('')
if not c[SESSION] then return { '', '0', '', '', '', '0' } end
local version, unsent_count = redis.call('HGET', SEEN, '#v') or '', num(redis.call('HGET', CTX, 'unsent'))
local waiting = waiting_records(num(c[SETTLED]) + 1, num(c[N]))
local unsent = unsent_count > 0 and oldest_unsent('')
return { c[SESSION], digits(num(c[ACTIVITY])), version, waiting[1] and digits(waiting[1].ms) or '', unsent and digits(unsent) or '',
  digits(MS + math.max(0, redis.call('PTTL', CTX))) }
