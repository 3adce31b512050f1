-- Gives a fan back the place that a token of an earlier life proves, in its original order. Doing it twice is doing it once.
--
-- ARGV 1 fan  2 number  3 id  4 '' | 'missed': the admission log says that the number was called by nobody |
--      'returned': that the turn lapsed, and the fan comes back  5 key of the id as a ballot (number 0)
--      6 '1' shows up | '' looks
-- Returns {1 known | 2 restored, number, id, life, kind, value}, {0, life} the place was left, {3} another place or
--   token holds, {5} the number has been passed: ask the admission log, {-3} no life, {-4} another server.
local fan, number, id = ARGV[1], ARGV[2], ARGV[3]
-- Byte by byte: Lua's own comparison follows the locale.
local function earlier(a, b)
  for i = 1, 16 do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return false
end
local s = redis.call('HMGET', st, 'run', 'life', 'served')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end
local place = redis.call('HGET', tok, fan)
if number ~= '0' then
  if redis.call('GETBIT', left, number) == 1 then return {0, s[2]} end
end
if place then
  local has, with = number_and_id(place)
  local kind, value = (ARGV[6] == '1' and arrive or whereabouts)(fan, has)
  if kind and has == number then
    -- Ids of later tokens are greater: the newest token of a place holds.
    if earlier(with, id) then
      redis.call('HSET', tok, fan, number .. ':' .. id)
      if kind == 'w' then redis.call('RPUSH', gone, 'm' .. number) end
    elseif with ~= id then
      return {3}
    end
    return {1, number, id, s[2], kind, value}
  end
  -- A place that the fan took anew after the loss gives way to the earlier one.
  if kind and (number == '0' or kind ~= 'w' or num(has) < num(number)) then return {3} end
  if num(number) <= num(s[3]) and ARGV[4] == '' then return {5} end
  if kind then
    redis.call('ZREM', wait, fan)
    redis.call('RPUSH', gone, has)
    redis.call('SETBIT', left, has, 1)
    record('departed', has)
  else
    bury(fan, has)
  end
end
if number == '0' then
  if ARGV[5] == '' then return {0, s[2]} end
  redis.call('ZADD', pre, ARGV[5], fan)
  redis.call('HSET', tok, fan, '0:' .. id)
  return {2, '0', id, s[2], 'p', '0'}
end
if num(number) > num(s[3]) then
  redis.call('ZADD', wait, number, fan)
  redis.call('HSET', tok, fan, number .. ':' .. id)
  return {2, number, id, s[2], 'w', '0'}
end
if ARGV[4] == '' then return {5} end
redis.call('ZADD', back, number, fan)
if ARGV[4] == 'returned' then
  redis.call('SADD', came, number)
  redis.call('HINCRBY', st, 'returned', 1)
  record('returned', number)
end
redis.call('HSET', tok, fan, number .. ':' .. id)
return {2, number, id, s[2], 'b', text(redis.call('ZRANK', back, fan))}
