-- One tick of a line, after sweep.lua: applies settings, and when the interval is over calls the oldest waiting fans: at
-- most a batch, never beyond the limit. One atomic step, so any number of schedulers may call it at any time; a call before
-- the interval is over calls nobody. Work per call is bounded: 500 called; what is left of a batch is done by the next call.
--
-- Who is called is not active yet: the caller reads news.lua, writes the admissions to the database and then runs
-- open.lua. Called fans count against the limit meanwhile, and news.lua gives them to every caller until they are open, so
-- nobody is lost when the caller dies in between.
--
-- ARGV 1 version  2 state  3 interval_ms  4 batch  5 limit  6 idle  7 sliding_ms  8 absolute_ms  9 claim_ms
--      10 return_ms  11 hold_ms  12 waiting_limit  13 message  14 sold '1' | '0' | '' unknown  15 fans to admit now
--      16 most fans ever seen in the pre-queue  17 number before the draw, and 18 its last, as the database has them; or ''
-- Returns {status, life, due, more, waiting, slots taken, limit, now, highest number given out, highest that may be, in the
--   pre-queue, promoted since the line exists, 1 while the line holds after a loss}. Status 1; or {-3} no life,
--   {-4} another server, {-5, n} n more numbers are needed, {-6, life, number before the draw, its last} the line opens,
--   and the database must have these first.
local MOST = 500
local s = redis.call('HMGET', st, 'run', 'life', 'seq', 'ceil')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end

local was = redis.call('HMGET', cfg, 'version', 'state')
if num(ARGV[1]) > tonumber(was[1] or '-1') then
  if was[2] == 'pre_queue' and ARGV[2] ~= 'pre_queue' and ARGV[2] ~= 'closed' then
    -- The line opens: the registered fans get the next numbers, in the order of their ballots; later ones stand behind.
    local registered = redis.call('ZCARD', pre)
    -- After a loss some may still come back.
    if redis.call('HEXISTS', st, 'hold_until') == 1 then registered = math.max(registered, num(ARGV[16])) end
    if registered > 0 then
      local block = ARGV[17] ~= '' and num(ARGV[18]) - num(ARGV[17]) or 0
      if registered > block then
        -- Once more, because fans have registered meanwhile: now with room for more of them.
        if block > 0 then registered = registered + math.floor(registered / 50) + 1000 end
        local before = ARGV[17] ~= '' and num(ARGV[17]) or num(s[3])
        if before + registered > num(s[4]) then return {-5, registered} end
        return {-6, s[2], text(before), text(before + registered)}
      end
      redis.call('HSET', st, 'draw_next', ARGV[17], 'draw_to', ARGV[18], 'seq', text(math.max(num(s[3]), num(ARGV[18]))))
    end
  end
  redis.call('HSET', cfg, 'version', ARGV[1], 'state', ARGV[2], 'interval_ms', ARGV[3], 'batch', ARGV[4],
    'limit', ARGV[5], 'idle', ARGV[6], 'sliding_ms', ARGV[7], 'absolute_ms', ARGV[8], 'claim_ms', ARGV[9],
    'return_ms', ARGV[10], 'hold_ms', ARGV[11], 'waiting_limit', ARGV[12], 'message', ARGV[13])
  -- A shorter interval takes effect now.
  local next_at = num(redis.call('HGET', st, 'next_at') or text(now))
  redis.call('HSET', st, 'next_at', text(math.min(next_at, now + num(ARGV[3]))))
end
if ARGV[14] ~= '' then redis.call('HSET', cfg, 'sold', ARGV[14]) end
local c = redis.call('HMGET', cfg, 'state', 'interval_ms', 'batch', 'limit', 'sold')
s = redis.call('HMGET', st, 'next_at', 'clock', 'quota', 'owed', 'hold_until', 'jumps', 'served', 'gone_base', 'life',
  'draw_next', 'draw_to', 'passed')

-- After a loss: once the hold is over, numbers above the highest that came back were never given out.
local holding = now < num(s[5])
if s[6] and not holding then
  for from, to in string.gmatch(s[6], '(%d+)-(%d+),') do
    local top = redis.call('ZREVRANGEBYSCORE', wait, to, from, 'WITHSCORES', 'LIMIT', 0, 1)
    if #top > 0 then from = text(num(top[2]) + 1) end
    if num(from) <= num(to) then redis.call('RPUSH', gone, from .. '-' .. to) end
  end
  redis.call('HDEL', st, 'jumps')
end

-- When everybody has been drawn, the rest of the block belongs to fans who left before.
local drawing = redis.call('ZCARD', pre) > 0 and c[1] ~= 'pre_queue'
if s[11] and num(s[10]) < num(s[11]) and not drawing and not holding and c[1] ~= 'pre_queue' then
  redis.call('RPUSH', gone, text(num(s[10]) + 1) .. '-' .. s[11])
  s[10] = s[11]
  redis.call('HSET', st, 'draw_next', s[11])
end

-- A clock that went back calls nobody until it has caught up.
local clock_is_right = now >= num(s[2])
local moves = (c[1] == 'on_sale' or c[1] == 'draining') and c[5] ~= '1' and not holding
  and not (drawing and num(s[10]) < num(s[11]))
local returned, waiting, calling = redis.call('ZCARD', back), redis.call('ZCARD', wait), redis.call('ZCARD', call)
local taken = slots()
local room = math.max(0, num(c[4]) - taken)
local due, quota, owed = 0, num(s[3]), num(s[4])
if clock_is_right and moves then
  local next_at = num(s[1])
  if now >= next_at then
    due, quota = 1, num(c[3])
    -- Keep the beat while calls are on time; after a gap start anew, so that no credit is banked.
    next_at = next_at + num(c[2])
    if next_at <= now then next_at = now + num(c[2]) end
    redis.call('HSET', st, 'next_at', text(next_at))
  end
  -- Turns that lapsed go to the next at once. Who comes back is beyond the batch: the turn was made up for.
  quota = quota + owed + returned
else
  quota = 0
end
if clock_is_right and not holding and num(ARGV[15]) > 0 and (moves or c[1] == 'paused')
  and not (drawing and num(s[10]) < num(s[11])) then
  quota = quota + num(ARGV[15])
end
quota = math.min(quota, room, returned + waiting)

local n = math.min(quota, MOST - math.min(calling, MOST))
if n > 0 then
  local first = redis.call('ZPOPMIN', back, n)
  local rest = n - #first / 2
  local popped = rest > 0 and redis.call('ZPOPMIN', wait, rest) or {}
  local called = {}
  for i = 1, #first, 2 do
    called[#called + 1] = first[i + 1]
    called[#called + 1] = first[i]
  end
  for i = 1, #popped, 2 do
    called[#called + 1] = popped[i + 1]
    called[#called + 1] = popped[i]
  end
  redis.call('ZADD', call, unpack(called))
  if #popped > 0 and num(popped[#popped]) > num(s[7]) then
    s[7] = popped[#popped]
    redis.call('HSET', st, 'served', s[7])
  end
end
if clock_is_right then
  -- What is owed for a lapsed turn is owed until its slot has been judged.
  local still_owed = redis.call('ZCOUNT', kept, '-inf', '(0') > 0 and math.max(0, owed - n) or 0
  redis.call('HSET', st, 'quota', text(math.max(0, quota - n)), 'owed', text(still_owed), 'clock', text(now))
end

-- What snapshots need no longer: numbers that have been passed.
local base = num(s[8])
for _ = 1, 100 do
  local entry = redis.call('LINDEX', gone, 0)
  local number = entry and tonumber(string.match(entry, '(%d+)$'))
  if not number or number > num(s[12]) then break end
  redis.call('LPOP', gone)
  base = base + 1
end
redis.call('HSET', st, 'gone_base', text(base))

return {1, s[9], due, quota > n and 1 or 0, waiting + returned - n, taken + n, num(c[4]), text(now), redis.call('HGET', st, 'seq') or '0', redis.call('HGET', st, 'ceil'),
  redis.call('ZCARD', pre), redis.call('HGET', st, 'promoted') or '0', holding and 1 or 0}
