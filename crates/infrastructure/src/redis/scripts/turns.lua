-- Who has a turn, or had one and may come back: at most so many of each kind. Changes nothing.
local turns = {}
for _, key in ipairs({act, back, lapsed}) do
  local fans = redis.call('ZRANGE', key, 0, num(most) - 1)
  for from = 1, #fans, MOST do
    local part = {unpack(fans, from, math.min(from + MOST - 1, #fans))}
    local places = redis.call('HMGET', tok, unpack(part))
    for i = 1, #part do
      if places[i] then
        turns[#turns + 1] = part[i]
        turns[#turns + 1] = number_and_id(places[i])
      end
    end
  end
end
return answer{turns = turns}
