-- Puts drawn fans into line, after the draw has been written to the database. Doing it twice is doing it once.
--
-- ARGV 1 life  2 number before the first  3 turn  4... fans in the order of the draw
-- Returns how many were placed; 0 when somebody else has drawn since.
local s = redis.call('HMGET', st, 'life', 'draw_next', 'served', 'draw_turn')
if s[1] ~= ARGV[1] or s[2] ~= ARGV[2] or s[4] ~= ARGV[3] then return 0 end
local count, placed = #ARGV - 3, 0
local key = redis.call('ZSCORE', pre, ARGV[#ARGV])
for from = 1, count, 500 do
  local to = math.min(from + 499, count)
  local fans = {unpack(ARGV, from + 3, to + 3)}
  local there, places = redis.call('ZMSCORE', pre, unpack(fans)), redis.call('HMGET', tok, unpack(fans))
  local line, places_now = {}, {}
  for i = 1, #fans do
    local number = text(num(s[2]) + from + i - 1)
    if not there[i] then
      -- Left since.
      redis.call('RPUSH', gone, number)
      redis.call('SETBIT', left, number, 1)
    else
      placed = placed + 1
      key = there[i]
      if num(number) > num(s[3]) then
        line[#line + 1] = number
        line[#line + 1] = fans[i]
      else
        redis.call('ZADD', back, number, fans[i])
      end
      places_now[#places_now + 1] = fans[i]
      places_now[#places_now + 1] = number .. ':' .. string.sub(places[i] or '', -16)
    end
  end
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  if #places_now > 0 then redis.call('HSET', tok, unpack(places_now)) end
  redis.call('ZREM', pre, unpack(fans))
end
redis.call('HSET', st, 'draw_next', text(num(s[2]) + count))
if key then redis.call('HSET', st, 'draw_key', key) end
redis.call('HDEL', st, 'draw_owner', 'draw_owner_until')
return placed
