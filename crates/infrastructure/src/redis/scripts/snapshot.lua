-- Everything that answers the polls of a line until the next snapshot, whatever their number. Changes nothing.
--
-- The caller has `known` entries of the list of gone numbers and gets at most `most` new ones; `before` is how many come
-- before those. `passed` is the highest number made active. Without settings there is NO_LIFE either: the line is loaded
-- anew.
local line = fields(st, 'run', 'life', 'next_at', 'seq', 'served', 'passed', 'gone_base', 'promoted', 'expired', 'lapsed',
  'returned', 'left', 'forfeited')
local applied = fields(cfg, 'state', 'policy', 'sold', 'message')
if not applied.state or not applied.policy then return {NO_LIFE} end
local refused = refusal(line.run, line.life)
if refused then return refused end

local base = num(line.gone_base)
local from = math.max(num(known) - base, 0)
return answer{
  life = line.life, now = now, next_at = line.next_at, seq = line.seq, served = line.served, passed = line.passed,
  state = applied.state, policy = applied.policy, sold = applied.sold, message = applied.message or '',
  waiting = redis.call('ZCARD', wait), returning = redis.call('ZCARD', back), active = slots_in_use(),
  -- While the line is a pre-queue, whoever has a place has a ballot.
  registered = applied.state == STAGE_PRE_QUEUE and redis.call('HLEN', tok),
  promoted = line.promoted, expired = line.expired, lapsed = line.lapsed, returned = line.returned, left = line.left,
  forfeited = line.forfeited,
  before = base + from, entries = redis.call('LRANGE', gone, from, from + num(most) - 1),
}
