-- The next ballots of the opening draw, in their order, and the numbers they get. Changes nothing but the block of
-- numbers when it is used up, and the lease of the draw.
--
-- ARGV 1 most ballots  2 who asks: others get nothing for five seconds, or until these are placed
-- Returns {status, life, number before the first of these, first number of the block less one} and then for each
--   ballot: fan, id. Status 1; 0 nothing to draw; {-3} no life, {-4} another server, {-5, n} n more numbers are needed.
local s = redis.call('HMGET', st, 'run', 'life', 'draw_next', 'draw_to', 'seq', 'ceil', 'hold_until')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end
if redis.call('HGET', cfg, 'state') == 'pre_queue' or now < num(s[7]) then return {0} end
local owner = redis.call('HMGET', st, 'draw_owner', 'draw_owner_until')
if owner[1] and owner[1] ~= ARGV[2] and num(owner[2]) > now then return {0} end
local ballots = redis.call('ZRANGE', pre, 0, num(ARGV[1]) - 1)
if #ballots == 0 then return {0} end
local room = num(s[4]) - num(s[3])
if room <= 0 then
  -- Ballots that came back after a loss, beyond those that were counted: they get the next numbers.
  local more = redis.call('ZCARD', pre)
  if num(s[5]) + more > num(s[6]) then return {-5, more} end
  s[3], s[4] = s[5] or '0', text(num(s[5]) + more)
  redis.call('HSET', st, 'draw_next', s[3], 'draw_to', s[4], 'seq', s[4])
  room = more
end
redis.call('HSET', st, 'draw_owner', ARGV[2], 'draw_owner_until', text(now + 5000))
local places = redis.call('HMGET', tok, unpack(ballots))
local reply = {1, s[2], s[3]}
for i = 1, math.min(#ballots, room) do
  local _, id = number_and_id(places[i] or ('0:' .. string.rep('\0', 16)))
  reply[#reply + 1] = ballots[i]
  reply[#reply + 1] = id
end
return reply
