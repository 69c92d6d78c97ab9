-- Ask whether the burst that an opened turn gathers is over; if so, take what has arrived into the turn. Repeating it takes
-- what has arrived since. (operation Gather)
--
-- ARGV  1 owner|token · 2 lease ms · 3 quiet ms a burst ends with · 4 most ms of a burst
-- Reply {'gather', ms left} or {'open', ms, cut, attempt, fields, msgs, fold} · {'lost'}: nothing is to be answered by this turn

local c = read_fields('')
if redis.call('GET', LOCK) ~= ARGV[1] or c[PAUSED] == '1' then return { 'lost' } end
local waiting = waiting_records(num(c[SETTLED]) + 1, num(c[N]))
if #waiting == 0 then
  redis.call('DEL', LOCK)
  return { 'lost' }
end
local left = burst_left(waiting, tonumber(ARGV[3]), tonumber(ARGV[4]))
if left > 0 then
  redis.call('PEXPIRE', LOCK, ARGV[2] + left)
  return { 'gather', digits(left) }
end
local token, joined = string.match(ARGV[1], '|(%d+)$'), {}
for _, record in ipairs(waiting) do
  if record.token ~= token then
    record.token, record.attempt = token, record.attempt + 1
    joined[#joined + 1] = record
  end
end
write_records(joined)
redis.call('PEXPIRE', LOCK, ARGV[2])
local msgs, fold = lists()
return { 'open', NOW, digits(num(c[N])), digits(waiting[1].attempt), shown(c), msgs, fold }
