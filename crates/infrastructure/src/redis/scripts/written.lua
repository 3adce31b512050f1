-- What has been written to the database: drops those events, makes called fans active whose calls are there, and takes away
-- places that are over by the database. Doing it twice is doing it once.
--
-- `oldest_to_keep` is the id of the oldest event to keep, '' to keep all. Each fan is given with a number: of a call that is
-- written, or with `over` of a place that is over. A fan who has left and was called anew is opened by the call of the new
-- number.
-- OTHER_LIFE: it was another one that was written.
if redis.call('HGET', st, 'life') ~= life then return {OTHER_LIFE} end
if oldest_to_keep ~= '' then redis.call('XTRIM', log, 'MINID', oldest_to_keep) end
local passed = num(redis.call('HGET', st, 'passed'))
local opened = {}
for fan, number, over in groups() do
  local called = redis.call('ZSCORE', call, fan)
  if called and num(called) == num(number) then
    if over == YES then
      forsake(fan, number)
    else
      opened[#opened + 1] = fan
      passed = math.max(passed, num(number))
    end
  end
end
if #opened > 0 then
  local claim_end, open = text(now + policy().claim_secs * 1000), {}
  for i, fan in ipairs(opened) do
    open[2 * i - 1] = claim_end
    open[2 * i] = fan
  end
  redis.call('ZREM', call, unpack(opened))
  redis.call('ZREM', last, unpack(opened))
  -- One slot for a fan, by the new turn.
  redis.call('ZREM', kept, unpack(opened))
  redis.call('ZADD', act, unpack(open))
  redis.call('HSET', st, 'passed', text(passed))
  redis.call('HINCRBY', st, 'promoted', #opened)
end
return answer{opened = #opened}
