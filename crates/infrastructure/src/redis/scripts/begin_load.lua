-- Begins to load the line from the database into this Redis process: a new life. The line is emptied, but for the settings.
-- Nobody is served meanwhile. A later life ends an earlier one's loading, so that of several who load one does. After this
-- come load_places.lua and load_holds.lua, as often as there are any, and then end_load.lua.
--
-- `newest` is the id of the newest event in the database, `version` that of the settings.
-- OTHER_LIFE: that life, or a later one, has begun or is being loaded by others.
local lives, loading = unpack(redis.call('HMGET', st, 'life', 'loading'))
if num(lives) >= num(life) or num(loading) > num(life) then return {OTHER_LIFE} end
redis.call('UNLINK', st, tok, wait, back, call, act, last, kept, lapsed, gone, ahead, came, log)
redis.call('HSET', st, 'loading', life, 'loading_at', text(now))
-- Only the settings: the next tick applies the rest of that edit. Whoever loads may know older ones than were applied here.
if is_newer(version) then redis.call('HSET', cfg, 'policy', policy_text) end
-- New events have ids above those in the database, also when the clock is behind.
if type(redis.pcall('XADD', log, newest, 'life', life)) == 'string' then redis.call('XDEL', log, newest) end
return {DONE}
