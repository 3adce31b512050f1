-- Makes called fans active, after their admissions have been written to the database. Doing it twice is doing it once.
--
-- ARGV 1 life in which they were called  and then for each: fan, number. A fan who has left and was called anew is
--      opened by the admission of the new number.
-- Returns how many became active.
if redis.call('HGET', st, 'life') ~= ARGV[1] then return 0 end
local fans = {}
for i = 2, #ARGV, 2 do fans[#fans + 1] = ARGV[i] end
local claim_end = text(now + num(redis.call('HGET', cfg, 'claim_ms')))
local called, open, opened = redis.call('ZMSCORE', call, unpack(fans)), {}, {}
local passed = num(redis.call('HGET', st, 'passed'))
for i = 1, #fans do
  if called[i] and num(called[i]) == num(ARGV[i * 2 + 1]) then
    opened[#opened + 1] = fans[i]
    open[#open + 1] = claim_end
    open[#open + 1] = fans[i]
    passed = math.max(passed, num(called[i]))
  end
end
if #opened > 0 then
  redis.call('ZREM', call, unpack(opened))
  redis.call('ZREM', last, unpack(opened))
  -- One slot for a fan, by the new turn.
  redis.call('ZREM', kept, unpack(opened))
  redis.call('ZADD', act, unpack(open))
  redis.call('HSET', st, 'passed', text(passed))
  redis.call('HINCRBY', st, 'promoted', #opened)
end
return #opened
