-- Ends a fan's place, wherever it is; an active one frees its slot at once.
--
-- ARGV 1 fan  2 'left' | 'paid'
-- Returns 1 when there was a live place, else 0; -3 no life, -4 another server.
local fan = ARGV[1]
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
if not life then return -3 end
if not same_server(run) then return -4 end
local place = redis.call('HGET', tok, fan)
if not place then return 0 end
local number = number_and_id(place)
local kind = whereabouts(fan, number)
if not kind then
  bury(fan, number)
  return 0
end
redis.call('HDEL', tok, fan)
redis.call('ZREM', act, fan)
redis.call('ZREM', last, fan)
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
return 1
