-- The numbers of a line. Changes nothing.
--
-- KEYS 1 cfg  2 st  3 tok  4 wait  5 act  6 end   (see join.lua)
-- Returns {waiting, active, promoted in all, joined in all, expired in all, left in all}
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local n = redis.call('HMGET', KEYS[2], 'promoted', 'seq', 'expired', 'left')
return {redis.call('ZCARD', KEYS[4]), redis.call('ZCOUNT', KEYS[5], '(' .. now, '+inf'), tonumber(n[1] or '0'),
  tonumber(n[2] or '0'), tonumber(n[3] or '0'), tonumber(n[4] or '0')}
