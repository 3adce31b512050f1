-- Who has a turn, or had one and may come back. Changes nothing.
--
-- ARGV 1 most fans of each kind
-- Returns fan and number of each.
local reply = {}
for _, key in ipairs({act, back, lapsed}) do
  local fans = redis.call('ZRANGE', key, 0, num(ARGV[1]) - 1)
  for from = 1, #fans, 500 do
    local part = {unpack(fans, from, math.min(from + 499, #fans))}
    local places = redis.call('HMGET', tok, unpack(part))
    for i = 1, #part do
      if places[i] then
        reply[#reply + 1] = part[i]
        reply[#reply + 1] = number_and_id(places[i])
      end
    end
  end
end
return reply
