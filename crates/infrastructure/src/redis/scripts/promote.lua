-- One tick of a line, after sweep.lua: applies settings, and when the interval is over calls the oldest waiting fans: at
-- most a batch, never beyond the limit, nobody beyond the first number that is missing here. One atomic step, so any number
-- of schedulers may call it at any time; a call before the interval is over calls nobody. Work per call is bounded: MOST are
-- called; what is left of a batch is done by the next call.
--
-- Who is called is not active yet: the caller reads news.lua, writes the calls to the database and then runs written.lua.
-- Called fans count against the limit meanwhile, and news.lua gives them to every caller until they are open, so nobody is
-- lost when the caller dies in between.
--
-- The settings are those of edit `version`: the stage of the sale (`state`), `policy_text`, which is the domain's QueuePolicy
-- as JSON, and the message. `sold` is YES, NO or UNKNOWN. `admit` fans are to be called now, by hand. `taken` is how many
-- slots are.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
local refused = refusal(run, life)
if refused then return refused end

local function apply_settings()
  if is_newer(version) then
    redis.call('HSET', cfg, 'version', version, 'state', state, 'policy', policy_text, 'message', message)
    -- A shorter interval takes effect now.
    local next_at = num(redis.call('HGET', st, 'next_at') or text(now))
    redis.call('HSET', st, 'next_at', text(math.min(next_at, now + policy().interval_secs * 1000)))
  end
  if sold ~= UNKNOWN then redis.call('HSET', cfg, 'sold', sold) end
end

-- Whether a batch is due. Calls that are on time keep the beat; after a gap it starts anew, so that no credit is banked.
local function keep_the_beat(next_at, interval_ms)
  if now < next_at then return false end
  next_at = next_at + interval_ms
  if next_at <= now then next_at = now + interval_ms end
  redis.call('HSET', st, 'next_at', text(next_at))
  return true
end

local function room(limit, taken) return math.max(0, limit - taken) end

-- Moves the first of a sorted set to `called`; answers how many there were, and the number of the last.
local function take(key, most, called)
  local popped = redis.call('ZPOPMIN', key, most)
  for i = 1, #popped, 2 do
    called[#called + 1] = popped[i + 1]
    called[#called + 1] = popped[i]
  end
  return #popped / 2, popped[#popped]
end

-- Who came back goes first, then the oldest who wait.
local function call_the_next(many, served)
  local called = {}
  local came_back = take(back, many, called)
  if came_back < many then
    local _, highest = take(wait, many - came_back, called)
    if num(highest) > served then redis.call('HSET', st, 'served', highest) end
  end
  redis.call('ZADD', call, unpack(called))
end

-- Snapshots need numbers no longer that have been passed.
local function forget_what_is_passed(passed, gone_base)
  for _ = 1, 100 do
    local entry = redis.call('LINDEX', gone, 0)
    local number = entry and tonumber(string.match(entry, '(%d+)$'))
    if not number or number > passed then break end
    redis.call('LPOP', gone)
    gone_base = gone_base + 1
  end
  redis.call('HSET', st, 'gone_base', text(gone_base))
end

apply_settings()
local settings = policy()
local stage, sold_out = unpack(redis.call('HMGET', cfg, 'state', 'sold'))
local line = fields(st, 'next_at', 'clock', 'quota', 'owed', 'served', 'passed', 'entered', 'gone_base', 'promoted')

-- A clock that went back calls nobody until it has caught up.
local clock_is_right = now >= num(line.clock)
local moves = clock_is_right and PROMOTES[stage] and sold_out ~= YES
local due = moves and keep_the_beat(num(line.next_at), settings.interval_secs * 1000) or false

local waiting, returned, calling = redis.call('ZCARD', wait), redis.call('ZCARD', back), redis.call('ZCARD', call)
local quota = 0
if moves then
  -- A batch, or what is left of one. Turns that lapsed go to the next at once. Who comes back is beyond the batch: the turn
  -- was made up for.
  quota = (due and settings.batch or num(line.quota)) + num(line.owed) + returned
end
if moves or clock_is_right and stage == STAGE_PAUSED then quota = quota + math.max(0, num(admit)) end

-- Who stands behind a gap waits until it is filled.
local callable = redis.call('ZCOUNT', wait, '-inf', line.entered or '0')
local taken = slots()
quota = math.min(quota, room(settings.active_limit, taken), returned + callable)
local many = math.min(quota, MOST - math.min(calling, MOST))
if many > 0 then call_the_next(many, num(line.served)) end
if clock_is_right then
  -- What is owed for a lapsed turn is owed until its slot has been judged.
  local still_owed = redis.call('ZCOUNT', kept, '-inf', '(0') > 0 and math.max(0, num(line.owed) - many) or 0
  redis.call('HSET', st, 'quota', text(math.max(0, quota - many)), 'owed', text(still_owed), 'clock', text(now))
end
forget_what_is_passed(num(line.passed), num(line.gone_base))
return answer{life = life, due = due, more = quota > many, waiting = waiting + returned - many, taken = taken + many,
  limit = settings.active_limit, now = now, promoted = line.promoted}
