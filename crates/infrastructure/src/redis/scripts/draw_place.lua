-- Puts drawn fans into line, after the draw has been written to the database. Doing it twice is doing it once.
--
-- ARGV 1 life  2 number before the first  3... fans in the order of the draw
-- Returns how many were placed; 0 when somebody else did it, or the order has changed since.
local s = redis.call('HMGET', st, 'life', 'draw_next', 'served')
if s[1] ~= ARGV[1] or s[2] ~= ARGV[2] then return 0 end
local count = #ARGV - 2
local ballots = redis.call('ZRANGE', pre, 0, count - 1)
for i = 1, count do
  if ballots[i] ~= ARGV[i + 2] then return 0 end
end
for from = 1, count, 500 do
  local to = math.min(from + 499, count)
  local places = redis.call('HMGET', tok, unpack(ballots, from, to))
  local line, places_now = {}, {}
  for i = from, to do
    local number = text(num(s[2]) + i)
    if num(number) > num(s[3]) then
      line[#line + 1] = number
      line[#line + 1] = ballots[i]
    else
      redis.call('ZADD', back, number, ballots[i])
    end
    places_now[#places_now + 1] = ballots[i]
    places_now[#places_now + 1] = number .. ':' .. string.sub(places[i - from + 1] or '', -16)
  end
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  redis.call('HSET', tok, unpack(places_now))
  redis.call('ZREM', pre, unpack(ballots, from, to))
end
redis.call('HSET', st, 'draw_next', text(num(s[2]) + count))
return count
