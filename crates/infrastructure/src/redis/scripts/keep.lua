-- Tells of holds, which keep slots whose turns are over. Doing it twice is doing it once.
--
-- ARGV for each fan: fan, then 'ask' and '' when holds of the fan have changed: unless a turn has the slot, the database must
--      be asked; or 'check' and '' for a fan who has a hold: the same, unless a slot is kept already; or ms for which the
--      fan's holds last, 0 none, and the mark of the question that this answers
-- Returns of how many fans the database must be asked; 0 on a server on which the line does not live, where the next life
--   finds out.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
if not life or not same_server(run) then return 0 end
local asked = 0
for i = 1, #ARGV, 3 do
  local fan, ms = ARGV[i], ARGV[i + 1]
  if ms == 'ask' then
    if not redis.call('ZSCORE', act, fan) then
      ask_for_hold(fan)
      asked = asked + 1
    end
  elseif ms == 'check' then
    if not redis.call('ZSCORE', act, fan) and not redis.call('ZSCORE', kept, fan) then
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
