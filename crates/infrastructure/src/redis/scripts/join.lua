-- Gives a fan a place in line: the one from before as long as it lives, else a new one at the back. With idle
-- admission a fan who joins an empty line while there is room is active at once.
--
-- KEYS 1 cfg (hash: settings)  2 st (hash: counters)  3 tok (hash: fan -> number:id)
--      4 wait (zset: fan by number)  5 act (zset: fan by sliding end, ms)  6 end (zset: fan by absolute end, ms)
-- ARGV 1 fan  2 id for a new place
-- Returns {2 new | 1 known, number, epoch, id, 'w', position, ms to next promotion, settings...}
--      or {2|1, number, epoch, id, 'a', ms when the token ends, 0, settings...}
--      or {-1, state} not open, {-2} full, {-3} no settings.
-- Settings: state, interval_ms, batch, limit, idle, sliding_ms, absolute_ms, waiting_limit.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local c = redis.call('HMGET', KEYS[1], 'state', 'interval_ms', 'batch', 'limit', 'idle', 'sliding_ms', 'absolute_ms',
  'waiting_limit')
if not c[1] then return {-3} end
local s = redis.call('HMGET', KEYS[2], 'epoch', 'next_at')

local function place(known, number, id, kind, value, wait_ms)
  return {known, number, s[1], id, kind, value, wait_ms, c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]}
end
local function until_next()
  return string.format('%.0f', math.max(0, tonumber(s[2] or '0') - now))
end

local old = redis.call('HGET', KEYS[3], ARGV[1])
if old then
  local number, id = string.match(old, '^(%d+):(.*)$')
  local ends = redis.call('ZSCORE', KEYS[5], ARGV[1])
  if ends and tonumber(ends) > now then return place(1, number, id, 'a', ends, '0') end
  local rank = redis.call('ZRANK', KEYS[4], ARGV[1])
  if rank then return place(1, number, id, 'w', tostring(rank + 1), until_next()) end
  -- The place is dead: it is not replayed.
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
end
if c[1] ~= 'on_sale' and c[1] ~= 'paused' then
  redis.call('HDEL', KEYS[3], ARGV[1])
  return {-1, c[1]}
end
local waiting = redis.call('ZCARD', KEYS[4])
if waiting >= tonumber(c[8]) then return {-2} end
local number = string.format('%.0f', redis.call('HINCRBY', KEYS[2], 'seq', 1))
redis.call('HSET', KEYS[3], ARGV[1], number .. ':' .. ARGV[2])
if c[1] == 'on_sale' and c[5] == '1' and waiting == 0
  and redis.call('ZCOUNT', KEYS[5], '(' .. string.format('%.0f', now), '+inf') < tonumber(c[4]) then
  local ends = string.format('%.0f', now + math.min(tonumber(c[6]), tonumber(c[7])))
  redis.call('ZADD', KEYS[5], ends, ARGV[1])
  redis.call('ZADD', KEYS[6], string.format('%.0f', now + tonumber(c[7])), ARGV[1])
  redis.call('HINCRBY', KEYS[2], 'promoted', 1)
  return place(2, number, ARGV[2], 'a', ends, '0')
end
redis.call('ZADD', KEYS[4], number, ARGV[1])
return place(2, number, ARGV[2], 'w', tostring(waiting + 1), until_next())
