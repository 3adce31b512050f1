-- One tick of a line, after sweep.lua: applies settings, and when the interval is over calls the oldest waiting fans: at
-- most a batch, never beyond the limit, nobody beyond the first number that is missing here. One atomic step, so any number of
-- schedulers may call it at any time; a call before the interval is over calls nobody. Work per call is bounded: 500 called;
-- what is left of a batch is done by the next call.
--
-- Who is called is not active yet: the caller reads news.lua, writes the calls to the database and then runs written.lua.
-- Called fans count against the limit meanwhile, and news.lua gives them to every caller until they are open, so nobody is
-- lost when the caller dies in between.
--
-- ARGV 1 version  2 state  3 interval_ms  4 batch  5 limit  6 idle  7 sliding_ms  8 absolute_ms  9 claim_ms
--      10 return_ms  11 waiting_limit  12 message  13 sold '1' | '0' | '' unknown  14 fans to admit now
-- Returns {status, life, due, more, waiting, slots taken, limit, now, promoted since the line exists}. Status 1; or {-3} no life, {-4} another server.
local MOST = 500
local s = redis.call('HMGET', st, 'run', 'life')
if not s[2] then return {-3} end
if not same_server(s[1]) then return {-4} end

if num(ARGV[1]) > tonumber(redis.call('HGET', cfg, 'version') or '-1') then
  redis.call('HSET', cfg, 'version', ARGV[1], 'state', ARGV[2], 'interval_ms', ARGV[3], 'batch', ARGV[4],
    'limit', ARGV[5], 'idle', ARGV[6], 'sliding_ms', ARGV[7], 'absolute_ms', ARGV[8], 'claim_ms', ARGV[9],
    'return_ms', ARGV[10], 'waiting_limit', ARGV[11], 'message', ARGV[12])
  -- A shorter interval takes effect now.
  local next_at = num(redis.call('HGET', st, 'next_at') or text(now))
  redis.call('HSET', st, 'next_at', text(math.min(next_at, now + num(ARGV[3]))))
end
if ARGV[13] ~= '' then redis.call('HSET', cfg, 'sold', ARGV[13]) end
local c = redis.call('HMGET', cfg, 'state', 'interval_ms', 'batch', 'limit', 'sold')
s = redis.call('HMGET', st, 'next_at', 'clock', 'quota', 'owed', 'served', 'gone_base', 'life', 'passed', 'entered')

-- A clock that went back calls nobody until it has caught up.
local clock_is_right = now >= num(s[2])
local moves = (c[1] == 'on_sale' or c[1] == 'draining') and c[5] ~= '1'
local returned, waiting, calling = redis.call('ZCARD', back), redis.call('ZCARD', wait), redis.call('ZCARD', call)
-- Who stands behind a gap waits until it is filled.
local callable = redis.call('ZCOUNT', wait, '-inf', s[9] or '0')
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
if clock_is_right and num(ARGV[14]) > 0 and (moves or c[1] == 'paused') then quota = quota + num(ARGV[14]) end
quota = math.min(quota, room, returned + callable)

local n = math.min(quota, MOST - math.min(calling, MOST))
if n > 0 then
  local called = {}
  local first = redis.call('ZPOPMIN', back, n)
  for i = 1, #first, 2 do
    called[#called + 1] = first[i + 1]
    called[#called + 1] = first[i]
  end
  local rest = n - #first / 2
  if rest > 0 then
    local popped = redis.call('ZPOPMIN', wait, rest)
    for i = 1, #popped, 2 do
      called[#called + 1] = popped[i + 1]
      called[#called + 1] = popped[i]
    end
    if num(popped[#popped]) > num(s[5]) then redis.call('HSET', st, 'served', popped[#popped]) end
  end
  redis.call('ZADD', call, unpack(called))
end
if clock_is_right then
  -- What is owed for a lapsed turn is owed until its slot has been judged.
  local still_owed = redis.call('ZCOUNT', kept, '-inf', '(0') > 0 and math.max(0, owed - n) or 0
  redis.call('HSET', st, 'quota', text(math.max(0, quota - n)), 'owed', text(still_owed), 'clock', text(now))
end

-- What snapshots need no longer: numbers that have been passed.
local base = num(s[6])
for _ = 1, 100 do
  local entry = redis.call('LINDEX', gone, 0)
  local number = entry and tonumber(string.match(entry, '(%d+)$'))
  if not number or number > num(s[8]) then break end
  redis.call('LPOP', gone)
  base = base + 1
end
redis.call('HSET', st, 'gone_base', text(base))

return {1, s[7], due, quota > n and 1 or 0, waiting + returned - n, taken + n, num(c[4]), text(now),
  redis.call('HGET', st, 'promoted') or '0'}
