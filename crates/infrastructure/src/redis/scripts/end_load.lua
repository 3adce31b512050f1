-- The line lives, bound to this Redis process: what begin_load.lua began.
--
-- `entered` is the last number up to which all are here, `passed` the highest that was called, the last of them at
-- `last_call_ms`. The totals are since the line exists.
-- OTHER_LIFE: that life, or a later one, has begun or is being loaded by others.
if not loading_goes_on(life) then return {OTHER_LIFE} end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
-- The beat goes on; what was missed is not made up for.
local interval_ms = policy().interval_secs * 1000
local next_at = math.min(math.max(num(last_call_ms) + interval_ms, now), now + interval_ms)
redis.call('HDEL', st, 'loading', 'loading_at')
redis.call('HSET', st, 'run', run, 'life', life, 'seq', entered, 'entered', entered, 'served', passed, 'passed', passed,
  'clock', text(now), 'next_at', text(next_at), 'asked', text(now), 'promoted', promoted_total, 'expired', expired_total,
  'lapsed', lapsed_total, 'returned', returned_total, 'left', left_total, 'forfeited', forfeited_total)
return {DONE}
