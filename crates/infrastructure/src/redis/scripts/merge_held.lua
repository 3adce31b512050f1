-- Before a new life begins, after merge.lua and prune.lua: the slots of fans who hold seats and have no turn any more, a part
-- at a time. Doing it twice is doing it once.
--
-- ARGV 1 the new life  2 '1' for the first part  then for each: fan, ms for which the fan's holds last
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
if ARGV[2] == '1' then redis.call('UNLINK', kept) end
for i = 3, #ARGV, 2 do
  if not redis.call('ZSCORE', act, ARGV[i]) then redis.call('ZADD', kept, text(now + num(ARGV[i + 1])), ARGV[i]) end
end
return 1
