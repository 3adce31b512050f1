-- Before a new life begins: ballots that the database has drawn, and that still are in the pre-queue, get their numbers;
-- those whose numbers have been passed come back by their tokens. Doing it twice is doing it once.
--
-- ARGV 1 the new life  2 highest number called  and then for each: fan, number, ballot
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
for at = 3, #ARGV, 3 do
  if redis.call('ZREM', pre, ARGV[at]) == 1 then
    if num(ARGV[at + 1]) > num(ARGV[2]) then
      redis.call('ZADD', wait, ARGV[at + 1], ARGV[at])
      redis.call('HSET', tok, ARGV[at], ARGV[at + 1] .. ':' .. ARGV[at + 2])
    else
      redis.call('HDEL', tok, ARGV[at])
    end
  end
end
return 1
