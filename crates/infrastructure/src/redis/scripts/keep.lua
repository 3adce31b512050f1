-- Tells of holds, which keep slots whose turns are over. Doing it twice is doing it once.
--
-- ARGV for each fan: fan, then 'ask' and '' when holds of the fan have changed: unless a turn has the slot, the database must
--      be asked; or ms for which the fan's holds last, 0 none, and the mark of the question that this answers
-- Returns of how many fans the database must be asked.
local asked = 0
for i = 1, #ARGV, 3 do
  local fan, ms = ARGV[i], ARGV[i + 1]
  if ms == 'ask' then
    if not redis.call('ZSCORE', act, fan) then
      ask_for_hold(fan)
      asked = asked + 1
    end
  elseif num(redis.call('ZSCORE', kept, fan)) == num(ARGV[i + 2]) then
    if num(ms) > 0 then
      redis.call('ZADD', kept, text(now + num(ms)), fan)
    else
      redis.call('ZREM', kept, fan)
    end
  end
end
return asked
