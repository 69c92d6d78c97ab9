-- What the server says of itself; the client looks for what it needs. (operation Guarantees)
--
-- Reply {INFO memory, INFO replication}, '' where it does not tell

local told = {}
for i, section in ipairs({ 'memory', 'replication' }) do
  local text = redis.pcall('INFO', section)
  told[i] = type(text) == 'string' and text or ''
end
return told
