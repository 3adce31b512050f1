-- Ends a fan's place, wherever it is: one that the database has ended because the fan left. The slot of a turn comes free
-- when the database has said that the fan holds no seats.
--
-- `number` is that of the place: a newer place of the fan stays as it is.
-- DONE: there was a live place. MUST_ASK: the database must be asked about a slot. NOWHERE: neither.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
local refused = refusal(run, life)
if refused then return refused end
local ended, asks = end_place(fan, number)
return {asks and MUST_ASK or ended and DONE or NOWHERE}
