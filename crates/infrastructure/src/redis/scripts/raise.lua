-- Lets the line give out numbers up to a higher ceiling, which the database has recorded.
--
-- ARGV 1 life  2 ceiling
-- Returns 1, or 0 when the line is in another life.
if redis.call('HGET', st, 'life') ~= ARGV[1] then return 0 end
if num(ARGV[2]) > num(redis.call('HGET', st, 'ceil')) then redis.call('HSET', st, 'ceil', ARGV[2]) end
return 1
