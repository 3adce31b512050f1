-- Enters places that the database has into the line. Doing it twice, late or in another order is doing it once.
--
-- Numbers have no gaps. 'entered' is the last of those that are all here; nobody behind it is called, so a place whose
-- process died or stalled on the way is not overtaken. Whoever ticks fills the gap from the database.
--
-- ARGV 1 first and  2 last of the numbers of which all live places are among these ('0' '0' when these are single places)
--      3 '1' the fans show up | '' they look | 'fill' the database was read a while ago | 'lost' these are not here though
--      everything from here is in the database  and then for each: fan, number (0 for a ballot), id of the newest token or ''
--      when the place is over, '1' when there were other tokens before
-- Returns {1, entered, kind and value for each (see whereabouts; '' when the place is over)}, {-3} no life,
--   {-4} another server.
local s = redis.call('HMGET', st, 'run', 'life', 'entered', 'seq', 'passed')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end
local before, passed = num(s[3]), num(s[5])
local first, last_ = num(ARGV[1]), num(ARGV[2])
local entered = before
if last_ > entered then
  if first <= entered + 1 then
    entered = last_
    while true do
      local to = redis.call('HGET', ahead, text(entered + 1))
      if not to then break end
      redis.call('HDEL', ahead, text(entered + 1))
      entered = num(to)
    end
    redis.call('HSET', st, 'entered', text(entered))
  else
    redis.call('HSET', ahead, ARGV[1], ARGV[2])
  end
  if last_ > num(s[4]) then redis.call('HSET', st, 'seq', ARGV[2]) end
end

-- With idle admission a fan who joins an empty line while there is room is called at once.
local c = redis.call('HMGET', cfg, 'state', 'limit', 'idle', 'sold')
local idle = c[1] == 'on_sale' and c[3] == '1' and c[4] ~= '1' and last_ > 0
local reply, line, places = {1, text(entered)}, {}, {}
local function put_in_line()
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  if #places > 0 then redis.call('HSET', tok, unpack(places)) end
  line, places = {}, {}
end
for i = 4, #ARGV, 4 do
  local fan, number, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local place = redis.call('HGET', tok, fan)
  local has, with
  if place then has, with = number_and_id(place) end
  local kind, value = '', '0'
  if has == number and id ~= '' then
    -- Of a new place there may be a newer token by now.
    if with ~= id and ARGV[3] ~= 'fill' and (number == '0' or num(number) < first or num(number) > last_) then
      redis.call('HSET', tok, fan, number .. ':' .. id)
      if redis.call('ZSCORE', wait, fan) then redis.call('RPUSH', gone, 'm' .. number) end
    end
    kind, value = (ARGV[3] == '1' and arrive or whereabouts)(fan, number)
    if not kind then
      bury(fan, number)
      kind, value = '', '0'
    end
  elseif number == '0' and not has then
    redis.call('HSET', tok, fan, '0:' .. id)
    kind = 'p'
  elseif id == '' then
    if num(number) > before then redis.call('RPUSH', gone, number) end
  elseif (num(number) > before or ARGV[3] == 'lost') and num(number) > num(has) then
    -- An older place of the fan is over by the database, which its own process could not tell.
    if has and has ~= '0' then forsake(fan, has) end
    if ARGV[i + 3] == '1' then redis.call('RPUSH', gone, 'm' .. number) end
    if num(number) <= passed then
      redis.call('ZADD', back, number, fan)
      redis.call('HSET', tok, fan, number .. ':' .. id)
      kind, value = 'b', text(redis.call('ZRANK', back, fan))
    elseif idle and num(number) <= entered and #line == 0 and redis.call('ZCARD', wait) == 0 and redis.call('ZCARD', back) == 0
      and slots() < num(c[2]) then
      redis.call('ZADD', call, number, fan)
      redis.call('HSET', st, 'served', number)
      redis.call('HSET', tok, fan, number .. ':' .. id)
      kind = 'c'
    else
      line[#line + 1] = number
      line[#line + 1] = fan
      places[#places + 1] = fan
      places[#places + 1] = number .. ':' .. id
      if #line >= 1000 then put_in_line() end
      kind = 'w'
    end
  end
  reply[#reply + 1] = kind
  reply[#reply + 1] = value
end
put_in_line()
return reply
