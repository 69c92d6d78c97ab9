-- Take a tenant that has no session any more off the tenants, on a Cluster. (operation of a Cluster, in Vacate)
--
-- KEYS  1 luni:tenants ZSET
-- ARGV  1 tenant, as a member of the tenants
-- Reply 1 if it was there, else 0

return redis.call('ZREM', KEYS[1], ARGV[1])
