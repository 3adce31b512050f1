-- Before a new life begins: ends active tokens that the database knows to be over.
--
-- ARGV 1 the new life  2... fans
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
local fans = {unpack(ARGV, 2)}
redis.call('ZREM', act, unpack(fans))
redis.call('ZREM', last, unpack(fans))
redis.call('HDEL', tok, unpack(fans))
return 1
