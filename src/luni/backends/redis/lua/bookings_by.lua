-- List where a customer's bookings are, in order of their start. (operation BookingsBy)
--
-- KEYS  1 luni:agenda:{cliente}:customers ZSET, members by:start:resource:id
-- ARGV  1 by · 2 at most so many
-- Reply {member, …}

return redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[1] .. ':', '(' .. ARGV[1] .. ';', 'LIMIT', 0, ARGV[2])
