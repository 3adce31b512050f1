-- Ends a fan's place, wherever it is: one that the database has ended because the fan left, or one whose turn was paid. The
-- slot of a turn comes free when the database has said that the fan holds no seats.
--
-- ARGV 1 fan  2 number of the place: a newer place of the fan stays as it is  3 'left' | 'paid', which is recorded
-- Returns 1 when there was a live place, 2 when the database must be asked about a slot, else 0; -3 no life, -4 another
--   server.
local fan = ARGV[1]
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
if not life then return -3 end
if not same_server(run) then return -4 end
local place = redis.call('HGET', tok, fan)
local number = place and number_and_id(place)
if not place or ARGV[2] ~= number then
  if not redis.call('ZSCORE', kept, fan) then return 0 end
  ask_for_hold(fan)
  return 2
end
local kind = whereabouts(fan, number)
if not kind then
  bury(fan, number)
  return 0
end
redis.call('HINCRBY', st, 'left', 1)
local had_turn = forsake(fan, number)
if ARGV[3] == 'paid' then record('paid', number) end
return had_turn and 2 or 1
