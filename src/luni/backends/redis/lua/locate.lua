-- Where a session id leads. (operation Locate)
--
-- KEYS  1 luni:sess:id:{sessionId} STRING the base key of that session
-- Reply the base key or nothing

return redis.call('GET', KEYS[1])
