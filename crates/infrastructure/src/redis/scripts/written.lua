-- What has been written to the database: drops those events, makes called fans active whose calls are there, and takes away
-- places that are over by the database. Doing it twice is doing it once.
--
-- ARGV 1 life  2 id of the oldest event to keep, or ''  3 how many calls follow  then for each: fan, number  and then fan and
--      number of each place that is over. A fan who has left and was called anew is opened by the call of the new number.
-- Returns how many became active.
if redis.call('HGET', st, 'life') ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('XTRIM', log, 'MINID', ARGV[2]) end
local claim_end = text(now + num(redis.call('HGET', cfg, 'claim_ms')))
local passed = num(redis.call('HGET', st, 'passed'))
local open, opened = {}, {}
local calls_end = 3 + num(ARGV[3]) * 2
for i = 4, #ARGV, 2 do
  local fan, number = ARGV[i], redis.call('ZSCORE', call, ARGV[i])
  if number and num(number) == num(ARGV[i + 1]) then
    if i < calls_end then
      opened[#opened + 1] = fan
      open[#open + 1] = claim_end
      open[#open + 1] = fan
      passed = math.max(passed, num(number))
    else
      forsake(fan, ARGV[i + 1])
    end
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
