-- Read everything that is stored of a session; writes nothing. (operation Dump)
--
-- Reply {ms, version, ms of the session's expiry, ms of seen's, lease ('' for none), ms of its end, ctx, msgs, fold, log, seen}

local s = read_state()

-- What somebody keeps without an expiry is given the longest there is.
local function end_of(key)
  local left = redis.call('PTTL', key)
  if left == -2 then return '0' end
  return digits(MS + (left == -1 and LIST_MS or left))
end

return { NOW, version_of(s), s.id and end_of(CTX) or '0', end_of(SEEN), s.lease, s.lease ~= '' and digits(MS + s.left) or '0',
  s.ctx, s.msgs, s.fold, s.log, s.seen }
