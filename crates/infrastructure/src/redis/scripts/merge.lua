-- Before a new life begins: loads what the database knows, a part at a time. Doing it twice is doing it once.
--
-- ARGV 1 the new life  2 sliding_ms  3 claim_ms  4 how many admissions follow  then for each: fan, number, id, ms of the
--      last end, whether it was used, and whether it was called before ('1' | '0')  and then the numbers of fans who left while they waited
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
local at = 5
for _ = 1, num(ARGV[4]) do
  local fan, number, id, final, used = unpack(ARGV, at, at + 4)
  if ARGV[at + 5] == '1' then redis.call('SADD', came, number) end
  at = at + 6
  redis.call('HSET', tok, fan, number .. ':' .. id)
  redis.call('ZREM', wait, fan)
  redis.call('ZREM', back, fan)
  redis.call('ZREM', call, fan)
  redis.call('ZREM', lapsed, fan)
  redis.call('ZREM', pre, fan)
  if used == '1' then redis.call('ZADD', last, 'NX', final, fan) end
  if not redis.call('ZSCORE', act, fan) then
    local ends = now + num(used == '1' and ARGV[2] or ARGV[3])
    redis.call('ZADD', act, text(math.min(ends, num(final))), fan)
  end
end
for i = at, #ARGV do
  redis.call('SETBIT', left, ARGV[i], 1)
  redis.call('RPUSH', gone, ARGV[i])
  redis.call('ZREMRANGEBYSCORE', wait, ARGV[i], ARGV[i])
end
return 1
