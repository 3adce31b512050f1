-- What happened and is not yet in the database, oldest first, and everybody who is called and not open yet, at one
-- moment. Changes nothing.
--
-- ARGV 1 most events  2 'any' also of an earlier life or server, before a new life begins
-- Returns {status, life, now, slots in use, limit, ms and counter of the newest event ever} and then two lists:
--   events as ms, counter, kind, numbers separated by commas; calls as fan, number. Status 1; or {-3} no life,
--   {-4} another server. Calls are only given when there are no more events than were asked for.
local s = redis.call('HMGET', st, 'run', 'life')
if ARGV[2] ~= 'any' then
  if not s[2] then return {-3} end
  if not same_server(s[1]) then return {-4} end
end
local most, events, calls = num(ARGV[1]), {}, {}
local entries = most > 0 and redis.call('XRANGE', log, '-', '+', 'COUNT', ARGV[1]) or {}
for _, entry in ipairs(entries) do
  local ms, counter = string.match(entry[1], '(%d+)-(%d+)')
  events[#events + 1] = ms
  events[#events + 1] = counter
  events[#events + 1] = entry[2][1]
  events[#events + 1] = entry[2][2]
end
local newest_ms, newest_counter = '0', '0'
if redis.call('EXISTS', log) == 1 then
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then newest_ms, newest_counter = string.match(info[i + 1], '(%d+)-(%d+)') end
  end
end
if #entries < most then
  calls = redis.call('ZRANGE', call, 0, 499, 'WITHSCORES')
end
return {1, s[2] or '0', text(now), slots_in_use(),
  redis.call('HGET', cfg, 'limit') or '0', newest_ms, newest_counter, events, calls}
