-- Where a fan is. One who shows up and whose turn lapsed stands at the head again; nothing else changes.
--
-- `shown` is the id that the fan shows, or '' when only signed in; `how` is SHOWS_UP or LOOKS.
-- MOVED: another token holds the place as far as is known here. NOWHERE: no place here, with `entered`. Of both the database
-- knows more: a place may not have been entered yet.
local run, life, entered = unpack(redis.call('HMGET', st, 'run', 'life', 'entered'))
local refused = refusal(run, life)
if refused then return refused end
local place = redis.call('HGET', tok, fan)
if not place then return answer{status = NOWHERE, entered = entered} end
local number, id = number_and_id(place)
if shown ~= '' and shown ~= id then return {MOVED} end
local kind, value = (how == SHOWS_UP and arrive or whereabouts)(fan, number)
if not kind then return answer{status = NOWHERE, entered = math.max(num(entered), num(number))} end
return answer{entered = entered, number = number, id = id, kind = kind, value = value}
