-- Enters places that the database has into the line. Doing it twice, late or in another order is doing it once.
--
-- Numbers have no gaps. 'entered' is the last of those that are all here; nobody behind it is called, so a place whose
-- process died or stalled on the way is not overtaken. Whoever ticks fills the gap from the database.
--
-- All live places of the numbers from `first_number` to `last_number` are among these; both are 0 when these are single
-- places.
-- `how`: the fans show up (SHOWS_UP) or look (LOOKS); the database was read a while ago (FILLED); these are not here though
-- everything from here is in the database (LOST). A place has number 0 when it is a ballot, the `id` of its newest token or
-- '' when it is over, and `moved` when there were other tokens before. Each is answered in turn: see whereabouts; AT_GONE
-- when it is over.
local run, life, before, seq, passed = unpack(redis.call('HMGET', st, 'run', 'life', 'entered', 'seq', 'passed'))
local refused = refusal(run, life)
if refused then return refused end
before, passed = num(before), num(passed)
local from, to = num(first_number), num(last_number)

-- Numbers behind which there is no gap are all here, with those that had come ahead of them.
local entered = before
if to > entered then
  if from <= entered + 1 then
    entered = to
    while true do
      local next_to = redis.call('HGET', ahead, text(entered + 1))
      if not next_to then break end
      redis.call('HDEL', ahead, text(entered + 1))
      entered = num(next_to)
    end
    redis.call('HSET', st, 'entered', text(entered))
  else
    redis.call('HSET', ahead, first_number, last_number)
  end
  if to > num(seq) then redis.call('HSET', st, 'seq', last_number) end
end

-- With idle admission a fan who joins an empty line while there is room is called at once.
local stage, sold_out = unpack(redis.call('HMGET', cfg, 'state', 'sold'))
local settings = stage == STAGE_ON_SALE and sold_out ~= YES and to > 0 and policy()
local idle = settings and settings.idle_admission

local line, places, answered = {}, {}, {}
local function put_in_line()
  if #line > 0 then redis.call('ZADD', wait, unpack(line)) end
  if #places > 0 then redis.call('HSET', tok, unpack(places)) end
  line, places = {}, {}
end

for fan, number, id, moved in groups() do
  local place = redis.call('HGET', tok, fan)
  local known_number, known_id
  if place then known_number, known_id = number_and_id(place) end
  local kind, value = AT_GONE, '0'
  if known_number == number and id ~= '' then
    -- The place is here. Of a new one there may be a newer token by now.
    if known_id ~= id and how ~= FILLED and (number == '0' or num(number) < from or num(number) > to) then
      redis.call('HSET', tok, fan, number .. ':' .. id)
      if redis.call('ZSCORE', wait, fan) then redis.call('RPUSH', gone, 'm' .. number) end
    end
    kind, value = (how == SHOWS_UP and arrive or whereabouts)(fan, number)
    if not kind then
      bury(fan, number)
      kind, value = AT_GONE, '0'
    end
  elseif number == '0' and not known_number then
    redis.call('HSET', tok, fan, '0:' .. id)
    kind = AT_PRE_QUEUE
  elseif id == '' then
    if num(number) > before then redis.call('RPUSH', gone, number) end
  elseif (num(number) > before or how == LOST) and num(number) > num(known_number) then
    -- The place is not here yet. An older one of the fan is over by the database, which its own process could not tell.
    if known_number and known_number ~= '0' then forsake(fan, known_number) end
    if moved == YES then redis.call('RPUSH', gone, 'm' .. number) end
    if num(number) <= passed then
      redis.call('ZADD', back, number, fan)
      redis.call('HSET', tok, fan, number .. ':' .. id)
      kind, value = AT_BACK, text(redis.call('ZRANK', back, fan))
    elseif idle and num(number) <= entered and #line == 0 and redis.call('ZCARD', wait) == 0
      and redis.call('ZCARD', back) == 0 and slots() < settings.active_limit then
      redis.call('ZADD', call, number, fan)
      redis.call('HSET', st, 'served', number)
      redis.call('HSET', tok, fan, number .. ':' .. id)
      kind = AT_CALLED
    else
      line[#line + 1] = number
      line[#line + 1] = fan
      places[#places + 1] = fan
      places[#places + 1] = number .. ':' .. id
      if #line >= 2 * MOST then put_in_line() end
      kind = AT_WAITING
    end
  end
  answered[#answered + 1] = kind
  answered[#answered + 1] = value
end
put_in_line()
return answer{entered = entered, places = answered}
