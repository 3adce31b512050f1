-- Where a fan is. Changes nothing.
--
-- KEYS 1 cfg  2 st  3 tok  4 wait  5 act  6 end   (see join.lua)
-- ARGV 1 fan
-- Returns {1, number, epoch, id, 'w'|'a', position or end, ms to next promotion, settings...} or {0}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = redis.call('HGET', KEYS[3], ARGV[1])
if not old then return {0} end
local c = redis.call('HMGET', KEYS[1], 'state', 'interval_ms', 'batch', 'limit', 'idle', 'sliding_ms', 'absolute_ms',
  'waiting_limit')
if not c[1] then return {0} end
local s = redis.call('HMGET', KEYS[2], 'epoch', 'next_at')
local number, id = string.match(old, '^(%d+):(.*)$')
local kind, value, wait_ms
local ends = redis.call('ZSCORE', KEYS[5], ARGV[1])
if ends and tonumber(ends) > now then
  kind, value, wait_ms = 'a', ends, '0'
else
  local rank = redis.call('ZRANK', KEYS[4], ARGV[1])
  if not rank then return {0} end
  kind, value = 'w', tostring(rank + 1)
  wait_ms = string.format('%.0f', math.max(0, tonumber(s[2] or '0') - now))
end
return {1, number, s[1], id, kind, value, wait_ms, c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]}
