-- Where a fan is. One who shows up ('1') and whose turn lapsed stands at the head again; nothing else changes.
--
-- ARGV 1 fan  2 id that the fan shows, or '' when only signed in  3 number that the fan shows  4 '1' shows up | '' looks
-- Returns {1, number, id, life, kind, value (see whereabouts)}, {3, life} another token holds the place, {0, life} no place,
--   {-3} no life, {-4} another server.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
if not life then return {-3} end
if not same_server(run) then return {-4} end
local place = redis.call('HGET', tok, ARGV[1])
if not place then return {0, life} end
local number, id = number_and_id(place)
if ARGV[2] ~= '' and ARGV[2] ~= id then
  if number == ARGV[3] and whereabouts(ARGV[1], number) then return {3, life} end
  return {0, life}
end
local kind, value = (ARGV[4] == '1' and arrive or whereabouts)(ARGV[1], number)
if not kind then return {0, life} end
return {1, number, id, life, kind, value}
