-- What happened and is not yet in the database, oldest first, and everybody who is called and not open yet, at one
-- moment. Changes nothing.
--
-- With `any_life` also of an earlier life or another server, before a new life begins. `newest_ms` and `newest_counter` are
-- the id of the newest event that ever was. Calls are only given when there are no more events than were asked for.
local run, life = unpack(redis.call('HMGET', st, 'run', 'life'))
local refused = any_life ~= YES and refusal(run, life)
if refused then return refused end

local events, calls = {}, {}
local entries = num(most) > 0 and redis.call('XRANGE', log, '-', '+', 'COUNT', most) or {}
for _, entry in ipairs(entries) do
  local ms, counter = string.match(entry[1], '(%d+)-(%d+)')
  events[#events + 1] = ms
  events[#events + 1] = counter
  events[#events + 1] = entry[2][1]
  events[#events + 1] = entry[2][2]
end
if #entries < num(most) then calls = redis.call('ZRANGE', call, 0, MOST - 1, 'WITHSCORES') end

local newest_ms, newest_counter = '0', '0'
if redis.call('EXISTS', log) == 1 then
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then newest_ms, newest_counter = string.match(info[i + 1], '(%d+)-(%d+)') end
  end
end
local settings = policy()
return answer{life = life, now = now, active = slots_in_use(), limit = settings and settings.active_limit,
  newest_ms = newest_ms, newest_counter = newest_counter, events = events, calls = calls}
