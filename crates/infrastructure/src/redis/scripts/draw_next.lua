-- The next ballots of the opening draw, in their order, and the numbers they get. Changes nothing but the lease and the turn
-- of the draw, and, when ballots came back late, the block of numbers.
--
-- ARGV 1 most ballots  2 who asks: others get nothing for five seconds
-- Returns {status, life, number before the first of these, turn} and then for each ballot: fan, id. Status 1; 0 nothing to
--   draw; {-3} no life, {-4} another server, {-5, n} n more numbers are needed.
local s = redis.call('HMGET', st, 'run', 'life', 'draw_next', 'draw_to', 'seq', 'ceil', 'hold_until', 'draw_key')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end
if redis.call('HGET', cfg, 'state') == 'pre_queue' or now < num(s[7]) then return {0} end
local owner = redis.call('HMGET', st, 'draw_owner', 'draw_owner_until')
if owner[1] and owner[1] ~= ARGV[2] and num(owner[2]) > now then return {0} end
local more = redis.call('ZCARD', pre)
if more == 0 then return {0} end
local most = math.min(num(ARGV[1]), num(s[4]) - num(s[3]))
local ballots = {}
if most > 0 then
  ballots = redis.call('ZRANGEBYSCORE', pre, s[8] and '(' .. s[8] or '-inf', '+inf', 'LIMIT', 0, most)
end
if #ballots == 0 then
  -- Ballots that came back after a loss, when their turn in the draw was over: they get a block of their own behind
  -- everybody. A number is left out before it, so that the published list shows where it begins.
  if num(s[5]) + more + 1 > num(s[6]) then return {-5, more + 1} end
  local first = num(s[5]) + 1
  redis.call('RPUSH', gone, text(first))
  if num(s[3]) < num(s[4]) then redis.call('RPUSH', gone, text(num(s[3]) + 1) .. '-' .. s[4]) end
  s[3], s[4] = text(first), text(first + more)
  redis.call('HSET', st, 'draw_next', s[3], 'draw_to', s[4], 'seq', s[4])
  redis.call('HDEL', st, 'draw_key')
  ballots = redis.call('ZRANGEBYSCORE', pre, '-inf', '+inf', 'LIMIT', 0, math.min(num(ARGV[1]), more))
end
redis.call('HSET', st, 'draw_owner', ARGV[2], 'draw_owner_until', text(now + 5000))
local places = redis.call('HMGET', tok, unpack(ballots))
local reply = {1, s[2], s[3], redis.call('HINCRBY', st, 'draw_turn', 1)}
for i = 1, #ballots do
  local _, id = number_and_id(places[i] or ('0:' .. string.rep('\0', 16)))
  reply[#reply + 1] = ballots[i]
  reply[#reply + 1] = id
end
return reply
