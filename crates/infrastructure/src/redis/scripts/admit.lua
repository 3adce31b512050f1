-- Lets an active fan through the gate. The first use claims the turn; later ones renew it when less than half of its
-- sliding time is left, never beyond its last end. Before seats are held, the slot is made to last for as long as that may
-- take, so that it is not given away in between.
--
-- `shown` is the id that the fan shows; the slot must last for `lasts_ms`, 0 for reading.
-- MOVED: another token holds the place as far as is known here. WAITING: still. NOWHERE: no place here, with `entered`, for
-- the place may not have been entered yet.
local run, life, entered = unpack(redis.call('HMGET', st, 'run', 'life', 'entered'))
local refused = refusal(run, life)
if refused then return refused end
local place = redis.call('HGET', tok, fan)
if not place then return answer{status = NOWHERE, entered = entered} end
local number, id = number_and_id(place)
if id ~= shown then return {MOVED} end
local kind, ends = arrive(fan, number)
if not kind then return answer{status = NOWHERE, entered = math.max(num(entered), num(number))} end
if kind ~= AT_ACTIVE then return {WAITING} end
local settings = policy()
if not settings then return {NO_LIFE} end

local sliding_ms = settings.active_sliding_secs * 1000
local final = redis.call('ZSCORE', last, fan)
local until_ = num(ends)
if not final then
  final = now + settings.active_absolute_secs * 1000
  until_ = math.min(now + sliding_ms, final)
  redis.call('ZADD', last, text(final), fan)
  redis.call('ZADD', act, 'XX', text(until_), fan)
  record(LOG_ARRIVED, number)
elseif until_ - now < sliding_ms / 2 then
  until_ = math.max(until_, math.min(now + sliding_ms, num(final)))
  redis.call('ZADD', act, 'XX', text(until_), fan)
end
if until_ < now + num(lasts_ms) then redis.call('ZADD', act, 'XX', text(now + num(lasts_ms)), fan) end
return answer{entered = entered, number = number}
