-- Loads places, after begin_load.lua.
--
-- Each has the id of its newest token, and `at`: AT_PRE_QUEUE, AT_WAITING, AT_MOVED (waiting, under another token than the
-- first), AT_BACK, AT_UNUSED (active), AT_ACTIVE (and used), AT_LAPSED, AT_GONE. `ms` is the last end of a turn, or when it
-- lapsed.
-- `came_back`: once, after a lapsed turn.
-- OTHER_LIFE: that life, or a later one, has begun or is being loaded by others.
if not loading_goes_on(life) then return {OTHER_LIFE} end
local settings = policy()
local function turn_ends(secs, last_end_ms) return text(math.min(now + secs * 1000, num(last_end_ms))) end

local places, line, left = {}, {}, {}
for fan, number, id, at, ms, came_back in groups() do
  if came_back == YES then redis.call('SADD', came, number) end
  if at == AT_GONE then
    left[#left + 1] = number
  else
    places[#places + 1] = fan
    places[#places + 1] = number .. ':' .. id
  end
  if at == AT_WAITING or at == AT_MOVED then
    line[#line + 1] = number
    line[#line + 1] = fan
    if at == AT_MOVED then left[#left + 1] = 'm' .. number end
  elseif at == AT_BACK then
    redis.call('ZADD', back, number, fan)
  elseif at == AT_LAPSED then
    redis.call('ZADD', lapsed, text(num(ms) + settings.return_secs * 1000), fan)
  elseif at == AT_UNUSED then
    redis.call('ZADD', act, turn_ends(settings.claim_secs, ms), fan)
  elseif at == AT_ACTIVE then
    redis.call('ZADD', last, ms, fan)
    redis.call('ZADD', act, turn_ends(settings.active_sliding_secs, ms), fan)
  end
end
if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
if #left > 0 then redis.call('RPUSH', gone, unpack(left)) end
if #places > 0 then redis.call('HSET', tok, unpack(places)) end
return {DONE}
