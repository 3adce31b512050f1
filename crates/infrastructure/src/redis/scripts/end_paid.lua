-- Ends a turn that was paid, as leave.lua ends a place, and records the payment.
--
-- `number` is that of the turn: a newer place of the fan stays as it is.
-- DONE: there was a live place. MUST_ASK: the database must be asked about a slot. NOWHERE: neither.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
local refused = refusal(run, life)
if refused then return refused end
local ended, asks = end_place(fan, number)
if ended then record(LOG_PAID, number) end
return {asks and MUST_ASK or ended and DONE or NOWHERE}
