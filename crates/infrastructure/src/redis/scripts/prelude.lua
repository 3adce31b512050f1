-- Goes before every script of the line: what is above the functions always, a function when it is named. Rust writes the head
-- before this, which gives the arguments their names and makes `answer`, and puts the values of words in capitals in their
-- places. See "How a script is called" in docs/LINE.md.
--
-- All scripts take the same keys, which carry the concert's hash tag, so that a line lives on one node of a cluster. A fan is
-- 16 raw bytes, and so is the id of a place.
local cfg,    -- hash: the settings, as applied
  st,         -- hash: life, server, counters, and what is under way
  tok,        -- hash: fan -> number ':' id of the newest token of the fan's place; number 0 in the pre-queue
  wait,       -- zset: fan by number; stands in line
  back,       -- zset: fan by number; had been called, lapsed, and came back: goes first
  call,       -- zset: fan by number; called, and being written to the admission log; counts against the limit
  act,        -- zset: fan by the end of the token in ms; before the first use this is the end of the claim window
  last,       -- zset: fan by the end in ms beyond which use does not renew; only fans who have used their token
  kept,       -- zset: fan by the end in ms of the hold that keeps the slot after the turn; below 0 until the database has
              -- been asked whether there is one
  lapsed,     -- zset: fan by the end in ms of the time to come back
  gone,       -- list: what happened to numbers that still wait, for snapshots: 'n' left, 'mn' moved to another token
  ahead,      -- hash: first -> last of ranges of numbers that are here although an earlier one is missing
  came,       -- set: numbers that came back after a lapsed turn; they do so once
  log         -- stream: what happened, until it is written to the database
  = unpack(KEYS)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Lua would write large numbers with 14 digits.
local function text(number) return string.format('%.0f', number) end
local function num(value) return tonumber(value or '0') end

-- Fields of a hash by their names. Those that it does not have are false.
local function fields(key, ...)
  local values, named = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({...}) do named[name] = values[i] end
  return named
end

-- The repeated arguments of a call, a group each time: for fan, number in groups() do.
local function groups()
  local arguments, many, at = ARGV, #ARGV, GROUPS_FROM - GROUP
  return function()
    at = at + GROUP
    if at <= many then return unpack(arguments, at, at + GROUP - 1) end
  end
end

-- A life of the line belongs to one run of one Redis process. After a restart or a failover the newest writes may be
-- missing, so nothing is said or done until the line has been loaded from the database: a new life.
local function same_server(run)
  return run and string.find(redis.call('INFO', 'server'), 'run_id:' .. run, 1, true) ~= nil
end

-- What a script answers where the line does not live, or nothing where it does.
local function refusal(run, life)
  if not life then return {NO_LIFE} end
  if not same_server(run) then return {OTHER_SERVER} end
end

-- The settings, as the domain names them; times are in seconds. False when there are none, or only those that an older
-- program wrote in another form: the line must be loaded anew.
local function policy()
  local applied = redis.call('HGET', cfg, 'policy')
  return applied and cjson.decode(applied)
end

-- Whether the settings of this edit apply: newer ones do, and any where there are none in this form.
local function is_newer(edit)
  local applied = fields(cfg, 'version', 'policy')
  return not applied.policy or num(edit) > tonumber(applied.version or '-1')
end

local function record(kind, numbers)
  if numbers ~= '' then redis.call('XADD', log, '*', kind, numbers) end
end

local function number_and_id(place) return string.sub(place, 1, #place - 17), string.sub(place, -16) end

-- Slots that are taken: by turns, by calls, and by holds that outlive their turns. What is over counts until it is swept.
local function slots() return redis.call('ZCARD', act) + redis.call('ZCARD', call) + redis.call('ZCARD', kept) end

-- The same for those who read: without what is over.
local function slots_in_use()
  return redis.call('ZCOUNT', act, '(' .. text(now), '+inf') + redis.call('ZCARD', call)
    + redis.call('ZCOUNT', kept, '-inf', '(0') + redis.call('ZCOUNT', kept, '(' .. text(now), '+inf')
end

-- The slot of this fan stays taken until the database has been asked whether the fan holds seats. Each question has its own
-- mark, so that an answer to an older one changes nothing.
local function ask_for_hold(fan) redis.call('ZADD', kept, '-' .. redis.call('HINCRBY', st, 'asked', 1), fan) end

-- Takes a turn away, if there is one. Whoever holds seats keeps the slot until the hold ends.
local function end_turn(fan)
  redis.call('ZREM', last, fan)
  if redis.call('ZREM', act, fan) == 0 then return false end
  ask_for_hold(fan)
  return true
end

-- The turn was not used within the claim window: it goes to the next, the fan may come back for a while, once.
local function lapse(fan, number)
  local back_until = now + policy().return_secs * 1000
  end_turn(fan)
  redis.call('HINCRBY', st, 'lapsed', 1)
  redis.call('HINCRBY', st, 'owed', 1)
  record(LOG_LAPSED, number)
  if redis.call('SISMEMBER', came, number) == 1 then
    redis.call('HDEL', tok, fan)
    record(LOG_FORFEITED, number)
  else
    redis.call('ZADD', lapsed, text(back_until), fan)
  end
end

-- Takes a dead place away. What ended with it is recorded, so that the log knows of every slot that came free.
local function bury(fan, number)
  if end_turn(fan) then record(LOG_EXPIRED, number) end
  if redis.call('ZREM', lapsed, fan) == 1 then record(LOG_FORFEITED, number) end
  redis.call('HDEL', tok, fan)
end

-- Takes a place away wherever it is, without a word in the log: the caller or the database has it. Answers whether there was
-- a turn.
local function forsake(fan, number)
  redis.call('HDEL', tok, fan)
  if redis.call('ZREM', wait, fan) == 1 then redis.call('RPUSH', gone, number) end
  redis.call('ZREM', back, fan)
  redis.call('ZREM', call, fan)
  redis.call('ZREM', lapsed, fan)
  return end_turn(fan)
end

-- Where a fan is, one of AT_..., and a value: the end of a turn, the rank at the head, the end of the time to come back, else
-- '0'. Nothing when the place is over.
local function whereabouts(fan, number)
  local ends = redis.call('ZSCORE', act, fan)
  if ends then
    -- The slot may last a little longer than the turn, see admit.lua.
    local final = redis.call('ZSCORE', last, fan)
    local turn_ends = final and math.min(num(ends), num(final)) or num(ends)
    if turn_ends > now then return AT_ACTIVE, text(turn_ends) end
    if final then return nil end
    lapse(fan, number)
  elseif redis.call('ZSCORE', wait, fan) then
    return AT_WAITING, '0'
  elseif redis.call('ZSCORE', call, fan) then
    return AT_CALLED, '0'
  end
  local rank = redis.call('ZRANK', back, fan)
  if rank then return AT_BACK, text(rank) end
  local to = redis.call('ZSCORE', lapsed, fan)
  if to and num(to) > now then return AT_LAPSED, to end
  if number == '0' then return AT_PRE_QUEUE, '0' end
  return nil
end

-- As whereabouts, for a fan who shows up, by joining or by using the token behind the line: one whose turn lapsed stands at
-- the head again. Looking (reading or following one's place) is not showing up, it asks whereabouts.
local function arrive(fan, number)
  local kind, value = whereabouts(fan, number)
  if kind ~= AT_LAPSED then return kind, value end
  redis.call('ZREM', lapsed, fan)
  redis.call('ZADD', back, number, fan)
  redis.call('SADD', came, number)
  redis.call('HINCRBY', st, 'returned', 1)
  record(LOG_RETURNED, number)
  return AT_BACK, text(redis.call('ZRANK', back, fan))
end

-- Ends the fan's place with this number, wherever it is; a newer one stays as it is. Answers whether there was a live one,
-- and whether the database must be asked about a slot: it comes free when the fan holds no seats.
local function end_place(fan, number)
  local place = redis.call('HGET', tok, fan)
  if not place or number_and_id(place) ~= number then
    if not redis.call('ZSCORE', kept, fan) then return false, false end
    ask_for_hold(fan)
    return false, true
  end
  if not whereabouts(fan, number) then
    bury(fan, number)
    return false, false
  end
  redis.call('HINCRBY', st, 'left', 1)
  return true, forsake(fan, number)
end

-- Whether the loading of this life goes on; if so, it is noted that somebody is at it. It does not when that life, or a later
-- one, has begun or is being loaded by others.
local function loading_goes_on(life)
  local lives, loading = unpack(redis.call('HMGET', st, 'life', 'loading'))
  if num(lives) >= num(life) or loading ~= life then return false end
  redis.call('HSET', st, 'loading_at', text(now))
  return true
end
