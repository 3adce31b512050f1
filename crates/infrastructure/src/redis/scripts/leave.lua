-- Ends a fan's place, wherever it is. The slot of a turn comes free when the database has said that the fan holds no seats.
--
-- ARGV 1 fan  2 'left' | 'paid'  3 number of the turn that paid: a newer place of the fan stays as it is; '' for any
-- Returns 1 when there was a live place, 2 when the database must be asked about a slot, else 0; -3 no life, -4 another
--   server.
local fan = ARGV[1]
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
if not life then return -3 end
if not same_server(run) then return -4 end
local place = redis.call('HGET', tok, fan)
local number = place and number_and_id(place)
if not place or (ARGV[3] ~= '' and ARGV[3] ~= number) then
  if not redis.call('ZSCORE', kept, fan) then return 0 end
  ask_for_hold(fan)
  return ARGV[3] == '' and 0 or 2
end
local kind = whereabouts(fan, number)
if not kind then
  bury(fan, number)
  return 0
end
redis.call('HDEL', tok, fan)
local had_turn = end_turn(fan)
redis.call('ZREM', lapsed, fan)
redis.call('HINCRBY', st, 'left', 1)
if kind == 'p' then
  redis.call('ZREM', pre, fan)
  return 1
end
redis.call('SETBIT', left, number, 1)
if kind == 'w' then
  redis.call('ZREM', wait, fan)
  redis.call('RPUSH', gone, number)
  record('departed', number)
else
  redis.call('ZREM', back, fan)
  redis.call('ZREM', call, fan)
  record(ARGV[2], number)
end
return had_turn and 2 or 1
