-- Where a fan is. One who shows up ('1') and whose turn lapsed stands at the head again; nothing else changes.
--
-- ARGV 1 fan  2 id that the fan shows, or '' when only signed in  3 '1' shows up | '' looks
-- Returns {1, number, id, kind, value (see whereabouts)}, {2} another token holds the place as far as is known here,
--   {0, entered} no place here, {-3} no life, {-4} another server. Of both the database knows more: a place may not have been
--   entered yet.
local run, life, entered = unpack(redis.call('HMGET', st, 'run', 'life', 'entered'))
if not life then return {-3} end
if not same_server(run) then return {-4} end
local place = redis.call('HGET', tok, ARGV[1])
if not place then return {0, entered} end
local number, id = number_and_id(place)
if ARGV[2] ~= '' and ARGV[2] ~= id then return {2} end
local kind, value = (ARGV[3] == '1' and arrive or whereabouts)(ARGV[1], number)
if not kind then return {0, text(math.max(num(entered), num(number)))} end
return {1, number, id, kind, value}
