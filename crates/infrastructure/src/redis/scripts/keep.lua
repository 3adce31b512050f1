-- Tells of holds, which keep slots whose turns are over. Doing it twice is doing it once.
--
-- `told` of a fan is ASK when holds of the fan have changed: unless a turn has the slot, the database must be asked. It is
-- CHECK for a fan who has a hold: the same, unless a slot is kept already. Else it is for how many ms the fan's holds last, 0
-- for none, and `mark` is that of the question to which this is the answer.
-- `asked` is of how many fans the database must be asked. Where the line does not live, the next life finds out.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
local refused = refusal(run, life)
if refused then return refused end
local asked = 0
for fan, told, mark in groups() do
  if told == ASK or told == CHECK then
    local has_slot = redis.call('ZSCORE', act, fan) or told == CHECK and redis.call('ZSCORE', kept, fan)
    if not has_slot then
      ask_for_hold(fan)
      asked = asked + 1
    end
  elseif num(redis.call('ZSCORE', kept, fan)) == num(mark) then
    if num(told) > 0 then
      redis.call('ZADD', kept, text(now + num(told)), fan)
    else
      redis.call('ZREM', kept, fan)
    end
  end
end
return answer{asked = asked}
