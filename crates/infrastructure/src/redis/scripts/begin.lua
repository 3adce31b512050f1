-- Begins a new life of the line on this Redis process: the first one, or one after a restart, a failover or a loss.
-- Numbers go on above every number that may have been given out; for a while nobody is called, so that fans can show their
-- tokens.
--
-- ARGV 1 life  2 highest number that may have been given out  3 highest number that certainly was  4 new ceiling
--      5 highest number called  6 ms to hold  7 first number less one, and 8 last number of the draw, or ''
--      9 id of the newest event in the database
-- Returns 1, or 0 when that life (or a later one) has begun.
if num(redis.call('HGET', st, 'life')) >= num(ARGV[1]) then return 0 end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local s = redis.call('HMGET', st, 'seq', 'served')
local served = math.max(num(s[2]), num(ARGV[5]))
local seq = math.max(num(s[1]), num(ARGV[2]), num(ARGV[8] ~= '' and ARGV[8] or '0'))
redis.call('HSET', st, 'run', run, 'life', ARGV[1], 'seq', text(seq), 'ceil', ARGV[4],
  'served', text(served), 'passed', text(served), 'quota', '0', 'owed', '0', 'clock', text(now))
if num(ARGV[2]) > 0 or num(s[1]) > 0 then
  redis.call('HSET', st, 'hold_until', text(now + num(ARGV[6])), 'jump_from', text(math.max(num(s[1]), num(ARGV[3]))),
    'jump_to', ARGV[2])
end
-- New events have ids above those in the database, also when the clock is behind.
if type(redis.pcall('XADD', log, ARGV[9], 'life', ARGV[1])) == 'string' then redis.call('XDEL', log, ARGV[9]) end
if ARGV[7] ~= '' then redis.call('HSET', st, 'draw_next', ARGV[7], 'draw_to', ARGV[8]) end
-- Who waits although the number has been passed goes first.
while true do
  local passed = redis.call('ZRANGEBYSCORE', wait, '-inf', text(served), 'WITHSCORES', 'LIMIT', 0, 500)
  if #passed == 0 then break end
  for i = 1, #passed, 2 do
    redis.call('ZREM', wait, passed[i])
    redis.call('ZADD', back, passed[i + 1], passed[i])
  end
end
return 1
