-- Read a session; writes nothing. (operation Read)
--
-- ARGV  1 with the transcript (1/0)
-- Reply {ms, unanswered, fields, msgs, fold, log}

local c = read_fields('')
local msgs, fold = lists()
local log = ARGV[1] == '1' and redis.call('LRANGE', LOG, 0, -1) or {}
local unanswered = c[SESSION] and #waiting_records(num(c[SETTLED]) + 1, num(c[N])) or 0
return { digits(MS), unanswered, shown(c), msgs, fold, log }
