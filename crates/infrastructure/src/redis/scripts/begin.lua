-- Begins a new life of the line on this Redis process: the first one, or one after a restart, a failover or a loss.
-- Numbers go on above every number that may have been given out; for a while nobody is called, so that fans can show their
-- tokens. Whoever was called, lapsed or back, or waits although the number has been passed, is dropped here: what is true
-- of them is in the database, and their tokens bring them back.
--
-- ARGV 1 life  2 highest number that may have been given out  3 ranges of numbers that may never have been ('a-b,' each)
--      4 new ceiling  5 highest number called  6 ms to hold  7 last number drawn, and 8 last number of the draw, or ''
--      9 id of the newest event in the database  10 newest turn of the draw in the database  11 key of the last ballot
--      drawn, or ''
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local s = redis.call('HMGET', st, 'seq', 'served', 'next_at', 'draw_turn')
local served = math.max(num(s[2]), num(ARGV[5]))
local seq = math.max(num(s[1]), num(ARGV[2]), num(ARGV[8] ~= '' and ARGV[8] or '0'))
redis.call('HSET', st, 'run', run, 'life', ARGV[1], 'seq', text(seq), 'ceil', ARGV[4],
  'served', text(served), 'passed', text(served), 'quota', '0', 'owed', '0', 'clock', text(now),
  'next_at', text(math.min(num(s[3] or text(now)), now)), 'draw_turn', text(math.max(num(s[4]), num(ARGV[10]))))
redis.call('HDEL', st, 'draw_owner', 'draw_owner_until', 'draw_key')
if ARGV[11] ~= '' then redis.call('HSET', st, 'draw_key', ARGV[11]) end
if num(ARGV[2]) > 0 then
  -- Of some numbers nobody knows whether they were given out, until the hold is over.
  redis.call('HSET', st, 'hold_until', text(now + num(ARGV[6])), 'jumps', ARGV[3])
end
-- New events have ids above those in the database, also when the clock is behind.
if type(redis.pcall('XADD', log, ARGV[9], 'life', ARGV[1])) == 'string' then redis.call('XDEL', log, ARGV[9]) end
if ARGV[7] ~= '' then
  redis.call('HSET', st, 'draw_next', ARGV[7], 'draw_to', ARGV[8])
  -- The line has opened; the settings that say so are applied by the next tick.
  if redis.call('HGET', cfg, 'state') == 'pre_queue' then redis.call('HSET', cfg, 'state', 'paused') end
end
local function drop(key, to)
  while true do
    local fans = redis.call('ZRANGEBYSCORE', key, '-inf', to, 'LIMIT', 0, 500)
    if #fans == 0 then return end
    redis.call('ZREM', key, unpack(fans))
    redis.call('HDEL', tok, unpack(fans))
  end
end
drop(wait, text(served))
drop(back, '+inf')
drop(call, '+inf')
drop(lapsed, '+inf')
return 1
