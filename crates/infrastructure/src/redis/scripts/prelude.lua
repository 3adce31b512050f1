-- Goes before every script of the line. All scripts take the same keys, which carry the concert's hash tag, so that a
-- line lives on one node of a cluster. A fan is 16 raw bytes, and so is the id of a place.
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

-- A life of the line belongs to one run of one Redis process. After a restart or a failover the newest writes may be
-- missing, so nothing is said or done until the line has been loaded from the database: a new life.
local function same_server(run)
  return run and string.find(redis.call('INFO', 'server'), 'run_id:' .. run, 1, true) ~= nil
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
  end_turn(fan)
  redis.call('HINCRBY', st, 'lapsed', 1)
  redis.call('HINCRBY', st, 'owed', 1)
  record('lapsed', number)
  if redis.call('SISMEMBER', came, number) == 1 then
    redis.call('HDEL', tok, fan)
    record('forfeited', number)
  else
    redis.call('ZADD', lapsed, text(now + num(redis.call('HGET', cfg, 'return_ms'))), fan)
  end
end

-- Takes a dead place away. What ended with it is recorded, so that the log knows of every slot that came free.
local function bury(fan, number)
  if end_turn(fan) then record('expired', number) end
  if redis.call('ZREM', lapsed, fan) == 1 then record('forfeited', number) end
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

-- Where a fan is: 'a' active (with the end), 'w' waiting, 'c' called, 'b' back at the head (with the rank), 'l' lapsed
-- (with the end of the time to come back), 'p' in the pre-queue, or nothing.
local function whereabouts(fan, number)
  local ends = redis.call('ZSCORE', act, fan)
  if ends then
    -- The slot may last a little longer than the turn, see admit.lua.
    local final = redis.call('ZSCORE', last, fan)
    local turn_ends = final and math.min(num(ends), num(final)) or num(ends)
    if turn_ends > now then return 'a', text(turn_ends) end
    if final then return nil end
    lapse(fan, number)
  elseif redis.call('ZSCORE', wait, fan) then
    return 'w', '0'
  elseif redis.call('ZSCORE', call, fan) then
    return 'c', '0'
  end
  local rank = redis.call('ZRANK', back, fan)
  if rank then return 'b', text(rank) end
  local to = redis.call('ZSCORE', lapsed, fan)
  if to and num(to) > now then return 'l', to end
  if number == '0' then return 'p', '0' end
  return nil
end

-- As whereabouts, for a fan who shows up, by joining or by using the token behind the line: one whose turn lapsed stands at
-- the head again. Looking (reading or following one's place) is not showing up, it asks whereabouts.
local function arrive(fan, number)
  local kind, value = whereabouts(fan, number)
  if kind ~= 'l' then return kind, value end
  redis.call('ZREM', lapsed, fan)
  redis.call('ZADD', back, number, fan)
  redis.call('SADD', came, number)
  redis.call('HINCRBY', st, 'returned', 1)
  record('returned', number)
  return 'b', text(redis.call('ZRANK', back, fan))
end
