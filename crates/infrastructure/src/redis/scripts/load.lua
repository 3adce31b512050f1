-- Loads the line from the database into this Redis process, a step at a time: a new life. Nobody is served meanwhile. A later
-- life ends an earlier one's loading, so that of several who load one does.
--
-- ARGV 1 'ask'    returns 1 when the line lives here, 2 when somebody loads it, 0 when somebody should
--      1 'begin'  2 life  3 id of the newest event in the database  4 interval_ms  5 sliding_ms  6 claim_ms  7 return_ms
--      1 'places' 2 life  and then for each place: fan, number, id of the newest token, what it is: 'p' in the pre-queue,
--                 'w' waiting, 'm' the same and moved to another token, 'b' back, 'u' active, 'a' active and used, 'l' lapsed,
--                 'g' gone; the ms of the last end or of the lapse; '1' when it came back after a lapsed turn
--      1 'holds'  2 life  and then for each fan who holds seats: fan, ms for which they last
--      1 'end'    2 life  3 last number entered  4 highest number called  5 ms of the last call  6-11 promoted, expired,
--                 lapsed, returned, left and forfeited since the line exists
-- Returns 1, or 0 when that life, or a later one, has begun or is being loaded by others.
local step = ARGV[1]
local s = redis.call('HMGET', st, 'run', 'life', 'loading', 'loading_at')
if step == 'ask' then
  if s[2] and same_server(s[1]) then return 1 end
  return s[3] and num(s[4]) > now - 6000 and 2 or 0
end
if num(s[2]) >= num(ARGV[2]) or num(s[3]) > num(ARGV[2]) then return 0 end
if step == 'begin' then
  redis.call('UNLINK', st, tok, wait, back, call, act, last, kept, lapsed, gone, ahead, came, log)
  redis.call('HSET', cfg, 'interval_ms', ARGV[4], 'sliding_ms', ARGV[5], 'claim_ms', ARGV[6], 'return_ms', ARGV[7])
  -- New events have ids above those in the database, also when the clock is behind.
  if type(redis.pcall('XADD', log, ARGV[3], 'life', ARGV[2])) == 'string' then redis.call('XDEL', log, ARGV[3]) end
elseif s[3] ~= ARGV[2] then
  return 0
end
redis.call('HSET', st, 'loading', ARGV[2], 'loading_at', text(now))

if step == 'places' then
  local c = redis.call('HMGET', cfg, 'sliding_ms', 'claim_ms', 'return_ms')
  local places, line, left = {}, {}, {}
  for i = 3, #ARGV, 6 do
    local fan, number, id, kind, ms = unpack(ARGV, i, i + 4)
    if ARGV[i + 5] == '1' then redis.call('SADD', came, number) end
    if kind == 'g' then
      left[#left + 1] = number
    else
      places[#places + 1] = fan
      places[#places + 1] = number .. ':' .. id
      if kind == 'w' or kind == 'm' then
        line[#line + 1] = number
        line[#line + 1] = fan
        if kind == 'm' then left[#left + 1] = 'm' .. number end
      elseif kind == 'b' then
        redis.call('ZADD', back, number, fan)
      elseif kind == 'l' then
        redis.call('ZADD', lapsed, text(num(ms) + num(c[3])), fan)
      elseif kind ~= 'p' then
        if kind == 'a' then redis.call('ZADD', last, ms, fan) end
        redis.call('ZADD', act, text(math.min(now + num(c[kind == 'a' and 1 or 2]), num(ms))), fan)
      end
    end
  end
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  if #left > 0 then redis.call('RPUSH', gone, unpack(left)) end
  if #places > 0 then redis.call('HSET', tok, unpack(places)) end
elseif step == 'holds' then
  for i = 3, #ARGV, 2 do
    if not redis.call('ZSCORE', act, ARGV[i]) then redis.call('ZADD', kept, text(now + num(ARGV[i + 1])), ARGV[i]) end
  end
elseif step == 'end' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  -- The beat goes on; what was missed is not made up for.
  local interval = num(redis.call('HGET', cfg, 'interval_ms'))
  local next_at = math.min(math.max(num(ARGV[5]) + interval, now), now + interval)
  redis.call('HDEL', st, 'loading', 'loading_at')
  redis.call('HSET', st, 'run', run, 'life', ARGV[2], 'seq', ARGV[3], 'entered', ARGV[3], 'served', ARGV[4],
    'passed', ARGV[4], 'clock', text(now), 'next_at', text(next_at), 'asked', text(now), 'promoted', ARGV[6], 'expired', ARGV[7],
    'lapsed', ARGV[8], 'returned', ARGV[9], 'left', ARGV[10], 'forfeited', ARGV[11])
end
return 1
