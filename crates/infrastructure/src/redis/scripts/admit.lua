-- Lets an active fan through the gate. The first use claims the turn; later ones renew it when less than half of its
-- sliding time is left, never beyond its last end. Before seats are held, the slot is made to last for as long as that may
-- take, so that it is not given away in between.
--
-- ARGV 1 fan  2 id that the fan shows  3 ms for which the slot must last, 0 for reading
-- Returns {1, number}, {2} still waiting, {3} another token holds the place as far as is known here, {0, entered} no place here,
--   {-3} no life, {-4} another server.
local fan = ARGV[1]
local run, life, entered = unpack(redis.call('HMGET', st, 'run', 'life', 'entered'))
if not life then return {-3} end
if not same_server(run) then return {-4} end
local place = redis.call('HGET', tok, fan)
if not place then return {0, entered} end
local number, id = number_and_id(place)
if id ~= ARGV[2] then return {3} end
local kind, ends = arrive(fan, number)
if not kind then return {0, text(math.max(num(entered), num(number)))} end
if kind ~= 'a' then return {2} end
local c = redis.call('HMGET', cfg, 'sliding_ms', 'absolute_ms')
local final = redis.call('ZSCORE', last, fan)
local until_ = num(ends)
if not final then
  final = now + num(c[2])
  until_ = math.min(now + num(c[1]), final)
  redis.call('ZADD', last, text(final), fan)
  redis.call('ZADD', act, 'XX', text(until_), fan)
  record('arrived', number)
elseif until_ - now < num(c[1]) / 2 then
  until_ = math.max(until_, math.min(now + num(c[1]), num(final)))
  redis.call('ZADD', act, 'XX', text(until_), fan)
end
if until_ < now + num(ARGV[3]) then redis.call('ZADD', act, 'XX', text(now + num(ARGV[3])), fan) end
return {1, number}
