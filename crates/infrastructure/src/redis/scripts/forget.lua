-- Drops events that are in the database.
--
-- ARGV 1 life  2 id of the oldest event to keep
-- Returns how many were dropped.
if redis.call('HGET', st, 'life') ~= ARGV[1] then return 0 end
return redis.call('XTRIM', log, 'MINID', ARGV[2])
