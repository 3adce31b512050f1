-- Lets an active fan through the gate, and renews the token when less than half of its sliding time is left, never
-- beyond its absolute end.
--
-- KEYS 1 cfg  2 st  3 tok  4 wait  5 act  6 end   (see join.lua)
-- ARGV 1 fan  2 number  3 id  4 epoch
-- Returns {1, ms when the token ends}, {2} still waiting, {0} over or another place.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] .. ':' .. ARGV[3] then return {0} end
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[4] then return {0} end
local ends = redis.call('ZSCORE', KEYS[5], ARGV[1])
if ends and tonumber(ends) > now then
  ends = tonumber(ends)
  local sliding = tonumber(redis.call('HGET', KEYS[1], 'sliding_ms') or '0')
  if ends - now < sliding / 2 then
    local last = tonumber(redis.call('ZSCORE', KEYS[6], ARGV[1]) or '0')
    local renewed = math.min(now + sliding, last)
    if renewed > ends then
      ends = renewed
      redis.call('ZADD', KEYS[5], 'XX', string.format('%.0f', ends), ARGV[1])
    end
  end
  return {1, string.format('%.0f', ends)}
end
if redis.call('ZSCORE', KEYS[4], ARGV[1]) then return {2} end
return {0}
