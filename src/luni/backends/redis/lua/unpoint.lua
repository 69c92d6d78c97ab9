-- Let a key lead nowhere, if it leads there, on a Cluster. (operation of a Cluster, after End)
--
-- KEYS  1 id or client, STRING: the session's base key, or its id
-- ARGV  1 value
-- Reply 1 if it did, else 0

return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
