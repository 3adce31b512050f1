-- Puts drawn fans into line, after the draw has been written to the database. Doing it twice is doing it once.
--
-- ARGV 1 life  2 number before the first  3 turn  4 key of the last ballot  and then for each, in the order of the draw:
--      fan, id
-- Returns how many were placed; 0 when somebody else has drawn since.
local s = redis.call('HMGET', st, 'life', 'draw_next', 'served', 'draw_turn')
if s[1] ~= ARGV[1] or s[2] ~= ARGV[2] or s[4] ~= ARGV[3] then return 0 end
local before, served = num(s[2]), num(s[3])
local count, placed = (#ARGV - 4) / 2, 0
for from = 1, count, 500 do
  local to = math.min(from + 499, count)
  local fans, line, places = {}, {}, {}
  for i = from, to do fans[#fans + 1] = ARGV[3 + i * 2] end
  -- Who has left since is in the pre-queue no longer.
  local there = redis.call('ZREM', pre, unpack(fans)) < #fans and redis.call('HMGET', tok, unpack(fans))
  for i = 1, #fans do
    local number = text(before + from + i - 1)
    if there and not there[i] then
      redis.call('RPUSH', gone, number)
      redis.call('SETBIT', left, number, 1)
    else
      placed = placed + 1
      if before + from + i - 1 > served then
        line[#line + 1] = number
        line[#line + 1] = fans[i]
      else
        redis.call('ZADD', back, number, fans[i])
      end
      places[#places + 1] = fans[i]
      places[#places + 1] = number .. ':' .. ARGV[4 + (from + i - 1) * 2]
    end
  end
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  if #places > 0 then redis.call('HSET', tok, unpack(places)) end
end
redis.call('HSET', st, 'draw_next', text(before + count), 'draw_key', ARGV[4])
return placed
