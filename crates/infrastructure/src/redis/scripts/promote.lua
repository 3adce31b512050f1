-- Applies settings, sweeps active tokens that ended, and when the interval is over promotes the oldest waiting fans:
-- at most a batch, never beyond the limit. One atomic step, so any number of schedulers may call it at any time; a
-- call before the interval is over promotes nobody. Work per call is bounded: 1,000 swept, 1,000 promoted; what is
-- left of a batch is done by the next call.
--
-- KEYS 1 cfg  2 st  3 tok  4 wait  5 act  6 end   (see join.lua)
-- ARGV 1 version  2 state  3 interval_ms  4 batch  5 limit  6 idle  7 sliding_ms  8 absolute_ms  9 waiting_limit
-- Returns {due, promoted, expired, more, waiting, active, promoted in all, joined in all, expired in all, left in all}
local CHUNK, MOST = 500, 1000
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local now_text = string.format('%.0f', now)

if tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[1], 'version') or '-1') then
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'state', ARGV[2], 'interval_ms', ARGV[3], 'batch', ARGV[4],
    'limit', ARGV[5], 'idle', ARGV[6], 'sliding_ms', ARGV[7], 'absolute_ms', ARGV[8], 'waiting_limit', ARGV[9])
  -- A shorter interval takes effect now.
  local next_at = tonumber(redis.call('HGET', KEYS[2], 'next_at') or now_text)
  redis.call('HSET', KEYS[2], 'next_at', string.format('%.0f', math.min(next_at, now + tonumber(ARGV[3]))))
end
redis.call('HSETNX', KEYS[2], 'epoch', now_text)
local c = redis.call('HMGET', KEYS[1], 'state', 'interval_ms', 'batch', 'limit', 'sliding_ms', 'absolute_ms')
local s = redis.call('HMGET', KEYS[2], 'next_at', 'clock', 'quota')

local ended = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now_text, 'LIMIT', 0, MOST)
for i = 1, #ended, CHUNK do
  local last = math.min(i + CHUNK - 1, #ended)
  redis.call('ZREM', KEYS[5], unpack(ended, i, last))
  redis.call('ZREM', KEYS[6], unpack(ended, i, last))
  redis.call('HDEL', KEYS[3], unpack(ended, i, last))
end
if #ended > 0 then redis.call('HINCRBY', KEYS[2], 'expired', #ended) end

-- A clock that went back promotes nobody until it has caught up.
local clock_is_right = now >= tonumber(s[2] or '0')
local moves = c[1] == 'on_sale' or c[1] == 'draining'
local due, quota = 0, 0
local active = redis.call('ZCOUNT', KEYS[5], '(' .. now_text, '+inf')
if clock_is_right and moves then
  local room = math.max(0, tonumber(c[4]) - active)
  local next_at = tonumber(s[1] or '0')
  if now >= next_at then
    due = 1
    quota = math.min(tonumber(c[3]), room, redis.call('ZCARD', KEYS[4]))
    -- Keep the beat while calls are on time; after a gap start anew, so that no credit is banked.
    next_at = next_at + tonumber(c[2])
    if next_at <= now then next_at = now + tonumber(c[2]) end
    redis.call('HSET', KEYS[2], 'next_at', string.format('%.0f', next_at))
  else
    quota = math.min(tonumber(s[3] or '0'), room)
  end
end

local promoted = 0
local ends = string.format('%.0f', now + math.min(tonumber(c[5]), tonumber(c[6])))
local last_end = string.format('%.0f', now + tonumber(c[6]))
while promoted < math.min(quota, MOST) do
  local popped = redis.call('ZPOPMIN', KEYS[4], math.min(math.min(quota, MOST) - promoted, CHUNK))
  if #popped == 0 then break end
  local sliding, absolute = {}, {}
  for i = 1, #popped, 2 do
    sliding[#sliding + 1] = ends
    sliding[#sliding + 1] = popped[i]
    absolute[#absolute + 1] = last_end
    absolute[#absolute + 1] = popped[i]
    promoted = promoted + 1
  end
  redis.call('ZADD', KEYS[5], unpack(sliding))
  redis.call('ZADD', KEYS[6], unpack(absolute))
end
local rest = quota - promoted
local waiting = redis.call('ZCARD', KEYS[4])
if waiting == 0 then rest = 0 end
if clock_is_right then
  redis.call('HSET', KEYS[2], 'quota', string.format('%.0f', rest), 'clock', now_text)
end
if promoted > 0 then redis.call('HINCRBY', KEYS[2], 'promoted', promoted) end
local n = redis.call('HMGET', KEYS[2], 'promoted', 'seq', 'expired', 'left')
return {due, promoted, #ended, rest > 0 and 1 or 0, waiting, active + promoted, tonumber(n[1] or '0'),
  tonumber(n[2] or '0'), tonumber(n[3] or '0'), tonumber(n[4] or '0')}
