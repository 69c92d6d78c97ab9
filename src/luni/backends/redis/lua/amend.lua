-- Replace one stored message, found by the digest of its text, wherever it is kept. (operation Amend)
--
-- ARGV  1 writer · 2 seq · 3 session id · 4 ttl ms · 5 seen's ttl ms · 6 member · 7 digest of the stored text · 8 new text · 9 change in tokens ·
--       10 message id · 11 is it redacted (1/0): what waited to be sent is not sent any more
-- Reply {'amended'} or {'missing'} · {'superseded'}

local writer, seq = ARGV[1], tonumber(ARGV[2])
local c = read_fields(writer)
local kind = compare_mark(c, seq)
if kind == 'old' then return { 'superseded' } end
if kind == 'same' then return { 'amended' } end
if c[SESSION] ~= ARGV[3] then return { 'missing' } end
local places = {}
for _, list in ipairs({ MSGS, FOLD, LOG }) do
  local texts = redis.call('LRANGE', list, 0, -1)
  for i = 1, #texts do
    if redis.sha1hex(texts[i]) == ARGV[7] then places[#places + 1] = { list, i - 1 } end
  end
end
if #places == 0 then return { 'missing' } end
if ID then redis.call('ZSCORE', SESSIONS, ARGV[6]) end
local unsent = redis.call('HGET', CTX, 'o:' .. ARGV[10])
if unsent and redis.sha1hex(unsent) ~= ARGV[7] then unsent = false end

local tokens = digits(math.max(0, num(c[TOKENS]) + tonumber(ARGV[9])))
hset({ 'tokens', tokens, 'lastActivity', NOW, 'updated_at', clock(c) })
for i = 1, #places do redis.call('LSET', places[i][1], places[i][2], ARGV[8]) end
if unsent and ARGV[11] == '1' then
  redis.call('HDEL', CTX, 'o:' .. ARGV[10])
  redis.call('HINCRBY', CTX, 'unsent', -1)
elseif unsent then
  redis.call('HSET', CTX, 'o:' .. ARGV[10], ARGV[8])
end
touch(ARGV[4], ARGV[5], ARGV[6], 1)
lead(ARGV[4])
write_mark(c, writer, '')
return { 'amended' }
