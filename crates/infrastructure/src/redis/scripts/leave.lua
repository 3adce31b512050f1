-- Ends a fan's place, waiting or active; an active one frees its slot at once.
--
-- KEYS 1 cfg  2 st  3 tok  4 wait  5 act  6 end   (see join.lua)
-- ARGV 1 fan
-- Returns 1 when there was a live place, else 0.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('HDEL', KEYS[3], ARGV[1]) == 0 then return 0 end
local live = redis.call('ZREM', KEYS[4], ARGV[1])
local ends = redis.call('ZSCORE', KEYS[5], ARGV[1])
if ends then
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
  if tonumber(ends) > now then live = 1 end
end
if live == 1 then redis.call('HINCRBY', KEYS[2], 'left', 1) end
return live
