-- Everything that answers the polls of a line until the next snapshot, whatever their number. Changes nothing.
--
-- ARGV 1 how many entries of the list of gone numbers the caller has  2 most entries to return
-- Returns {status, life, now, next_at, seq, served, waiting, back, slots in use, registered, promoted, expired, lapsed,
--   returned, left, passed (highest number made active), entries before those returned, forfeited} and then the settings and
--   the entries as lists. Status 1, or {-3} no life or settings, {-4} another server.
local s = redis.call('HMGET', st, 'run', 'life', 'next_at', 'seq', 'served', 'promoted', 'expired', 'lapsed',
  'returned', 'left', 'gone_base', 'passed', 'forfeited')
local c = redis.call('HMGET', cfg, 'state', 'interval_ms', 'batch', 'limit', 'idle', 'sliding_ms', 'absolute_ms',
  'claim_ms', 'return_ms', 'waiting_limit', 'sold', 'message')
if not s[2] or not c[1] then return {-3} end
if not same_server(s[1]) then return {-4} end
for i = 1, 12 do c[i] = c[i] or '' end
local base = num(s[11])
local from = math.max(num(ARGV[1]) - base, 0)
-- While the line is a pre-queue, whoever has a place has a ballot.
local registered = c[1] == 'pre_queue' and redis.call('HLEN', tok) or 0
return {1, s[2], text(now), s[3] or '0', s[4] or '0', s[5] or '0', redis.call('ZCARD', wait), redis.call('ZCARD', back),
  slots_in_use(), registered, s[6] or '0', s[7] or '0', s[8] or '0', s[9] or '0', s[10] or '0', s[12] or '0',
  text(base + from), s[13] or '0', c, redis.call('LRANGE', gone, from, from + num(ARGV[2]) - 1)}
