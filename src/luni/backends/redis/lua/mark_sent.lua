-- Note that a reply's message was sent: it is offered no more. Not an activity. (operation MarkSent)
--
-- ARGV  1 writer · 2 seq · 3 message id · 4 the provider's id as JSON ('' for none) · 5 member
-- Reply {'done'} or {'missing'} · {'superseded'}

local writer, seq, field = ARGV[1], tonumber(ARGV[2]), 'o:' .. ARGV[3]
local c = read_fields(writer)
local kind = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'done' } end
local text = redis.call('HGET', CTX, field)
if not text then return { 'missing' } end
local places = {}
for _, list in ipairs(ARGV[4] ~= '' and { MSGS, FOLD, LOG } or {}) do
  local texts = redis.call('LRANGE', list, 0, -1)
  for i = 1, #texts do
    if texts[i] == text then places[#places + 1] = { list, i - 1 } end
  end
end
local oldest = oldest_unsent(field)
if UNSENT then redis.call('ZSCORE', UNSENT, ARGV[5]) end

-- effect: a JSON object takes one more member before its last brace
redis.call('HINCRBY', CTX, 'unsent', -1)
redis.call('HDEL', CTX, field)
for i = 1, #places do
  redis.call('LSET', places[i][1], places[i][2], string.sub(text, 1, -2) .. ',"provider_id":' .. ARGV[4] .. '}')
end
if UNSENT then
  if oldest then redis.call('ZADD', UNSENT, 'XX', digits(oldest), ARGV[5]) else redis.call('ZREM', UNSENT, ARGV[5]) end
end
write_mark(c, writer, '')
return { 'done' }
