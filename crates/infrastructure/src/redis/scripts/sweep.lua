-- Before a tick: ends turns that ran out (used ones expire, unused ones lapse), forfeits places whose time to come back is
-- over, and frees slots whose hold has ended. Work per call is bounded: MOST of each.
--
-- A turn that ends may leave a hold behind, which keeps its slot. Only the database knows, so the caller asks it about the
-- fans that this answers (`asked`, each with the mark of the question), and tells keep.lua.
local run, life, entered = unpack(redis.call('HMGET', st, 'run', 'life', 'entered'))
local refused = refusal(run, life)
if refused then return refused end
local settings = policy()
if not settings then return {NO_LIFE} end

local over = redis.call('ZRANGEBYSCORE', act, '-inf', text(now), 'LIMIT', 0, MOST)
local expired, lapses = {}, {}
if #over > 0 then
  local used, places = redis.call('ZMSCORE', last, unpack(over)), redis.call('HMGET', tok, unpack(over))
  local numbers_expired, numbers_lapsed, forfeits, back_until, to_ask = {}, {}, {}, {}, {}
  local first = redis.call('HINCRBY', st, 'asked', #over) - #over
  for i = 1, #over do
    to_ask[#to_ask + 1] = '-' .. (first + i)
    to_ask[#to_ask + 1] = over[i]
    local number = places[i] and number_and_id(places[i])
    if used[i] or not number then
      expired[#expired + 1] = over[i]
      numbers_expired[#numbers_expired + 1] = number
    else
      lapses[#lapses + 1] = over[i]
      numbers_lapsed[#numbers_lapsed + 1] = number
      if redis.call('SISMEMBER', came, number) == 1 then
        redis.call('HDEL', tok, over[i])
        forfeits[#forfeits + 1] = number
      else
        back_until[#back_until + 1] = text(now + settings.return_secs * 1000)
        back_until[#back_until + 1] = over[i]
      end
    end
  end
  redis.call('ZREM', act, unpack(over))
  redis.call('ZADD', kept, unpack(to_ask))
  if #expired > 0 then
    redis.call('ZREM', last, unpack(expired))
    redis.call('HDEL', tok, unpack(expired))
    redis.call('HINCRBY', st, 'expired', #expired)
    record(LOG_EXPIRED, table.concat(numbers_expired, ','))
  end
  if #lapses > 0 then
    if #back_until > 0 then redis.call('ZADD', lapsed, unpack(back_until)) end
    redis.call('HINCRBY', st, 'lapsed', #lapses)
    -- Turns that lapsed go to the next at once, beyond the batch.
    redis.call('HINCRBY', st, 'owed', #lapses)
    record(LOG_LAPSED, table.concat(numbers_lapsed, ','))
    record(LOG_FORFEITED, table.concat(forfeits, ','))
  end
end

local late = redis.call('ZRANGEBYSCORE', lapsed, '-inf', text(now), 'LIMIT', 0, MOST)
if #late > 0 then
  local places, numbers = redis.call('HMGET', tok, unpack(late)), {}
  for i = 1, #late do numbers[#numbers + 1] = places[i] and number_and_id(places[i]) end
  redis.call('ZREM', lapsed, unpack(late))
  redis.call('HDEL', tok, unpack(late))
  redis.call('HINCRBY', st, 'forfeited', #late)
  record(LOG_FORFEITED, table.concat(numbers, ','))
end

local free = redis.call('ZRANGEBYSCORE', kept, '0', text(now), 'LIMIT', 0, MOST)
if #free > 0 then redis.call('ZREM', kept, unpack(free)) end
local asked = redis.call('ZRANGEBYSCORE', kept, '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, MOST)
local more = math.max(#over, #late, #free, #asked / 2) == MOST
return answer{expired = #expired, lapsed = #lapses, more = more, asked = asked, entered = entered}
