-- A whole session: what dump.lua gives and restore.lua compares. The client puts it between the prelude and these two.

local ASIDE = { clienteId = 1, stats = 1, queue = 1, locks = 1, lockers = 1, unlocked = 1, indexed = 1 } -- fields no State has

-- Everything stored. `ctx` is a list of names and values as HGETALL gives it, a pause that is over told as such; without a
-- session only `seen` counts, and what lies in ctx without one is in `remains`.
local function read_state()
  local c = read_fields('')
  local s = { id = c[SESSION], count = c[COUNT], ctx = redis.call('HGETALL', CTX), seen = redis.call('HGETALL', SEEN) }
  s.msgs, s.fold = lists()
  s.log = redis.call('LRANGE', LOG, 0, -1)
  s.held = redis.call('GET', LOCK)
  s.ours = s.held and string.match(s.held, '^[^|]*|%d+$')
  s.left = s.ours and redis.call('PTTL', LOCK) or 0
  s.lease = s.id and s.left > 0 and s.held or ''
  s.remains = s.ctx
  if not s.id then s.ctx, s.msgs, s.fold, s.log = {}, {}, {}, {} end
  for i = 1, #s.ctx, 2 do
    if s.ctx[i] == 'paused' then s.ctx[i + 1] = c[PAUSED] end
    if s.ctx[i] == 'pause' then s.ctx[i + 1] = c[PAUSE] end
  end
  return s
end

-- Every part goes in with its length, so no two states have one version. A hash that the server has rebuilt meanwhile gives
-- another one for the same state, which costs a second look and nothing else.
local function version_of(s)
  local parts = {}
  local function take(list)
    parts[#parts + 1] = '[' .. #list
    for i = 1, #list do parts[#parts + 1] = #list[i] .. ':' .. list[i] end
  end
  local fields = {}
  for i = 1, #s.ctx, 2 do
    if not ASIDE[s.ctx[i]] then with(fields, { s.ctx[i], s.ctx[i + 1] }) end
  end
  for _, list in ipairs({ fields, s.msgs, s.fold, s.log, s.seen, { s.lease } }) do take(list) end
  return redis.sha1hex(table.concat(parts, ','))
end
