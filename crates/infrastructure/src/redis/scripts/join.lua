-- Gives a fan a place: the one from before as long as it lives, else a new one at the back, or a ballot in the
-- pre-queue. A fan who has one takes it over: it gets a new id, and the old token stops working (who shows a token that
-- holds is not sent here). With idle admission a fan who joins an empty line while there is room is called at once.
--
-- ARGV 1 fan  2 id for a new place  3 key of the new id as a ballot, or ''
-- Returns {2 new | 1 known, number, id, life, kind, value (see whereabouts)}
--   or {-1, state} not open, {-2} full, {-3} no settings, {-4} another server, {-5} numbers used up, {-6} sold out,
--   {-7} the key of the ballot is needed.
local fan, new_id = ARGV[1], ARGV[2]
local c = redis.call('HMGET', cfg, 'state', 'limit', 'idle', 'waiting_limit', 'sold')
local s = redis.call('HMGET', st, 'run', 'life', 'seq', 'ceil', 'hold_until')
if not c[1] or not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end

local place = redis.call('HGET', tok, fan)
if place then
  local number, id = number_and_id(place)
  local kind, value = arrive(fan, number)
  if kind then
    -- The same request once more, because its answer was lost.
    if id == new_id then return {2, number, id, s[2], kind, value} end
    if kind ~= 'p' then
      redis.call('HSET', tok, fan, number .. ':' .. new_id)
      if kind == 'w' then redis.call('RPUSH', gone, 'm' .. number) end
      id = new_id
    end
    return {1, number, id, s[2], kind, value}
  end
  -- The place is dead: it is not replayed.
  bury(fan, number)
end

if c[1] == 'pre_queue' then
  if ARGV[3] == '' then return {-7} end
  if redis.call('ZCARD', pre) >= num(c[4]) then return {-2} end
  redis.call('ZADD', pre, ARGV[3], fan)
  redis.call('HSET', tok, fan, '0:' .. new_id)
  return {2, '0', new_id, s[2], 'p', '0'}
end
if c[1] ~= 'on_sale' and c[1] ~= 'paused' then return {-1, c[1]} end
if c[5] == '1' then return {-6} end
local waiting = redis.call('ZCARD', wait)
if waiting >= num(c[4]) then return {-2} end
if num(s[3]) >= num(s[4]) then return {-5} end
local number = text(redis.call('HINCRBY', st, 'seq', 1))
redis.call('HSET', tok, fan, number .. ':' .. new_id)
if c[1] == 'on_sale' and c[3] == '1' and waiting == 0 and now >= num(s[5])
  and redis.call('ZCARD', back) == 0 and redis.call('ZCARD', pre) == 0
  and slots() < num(c[2]) then
  redis.call('ZADD', call, number, fan)
  redis.call('HSET', st, 'served', number)
  return {2, number, new_id, s[2], 'c', '0'}
end
redis.call('ZADD', wait, number, fan)
return {2, number, new_id, s[2], 'w', '0'}
