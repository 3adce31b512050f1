-- Loads the slots of fans who hold seats without a turn, after load_places.lua. Their holds last for `left_ms`.
--
-- OTHER_LIFE: that life, or a later one, has begun or is being loaded by others.
if not loading_goes_on(life) then return {OTHER_LIFE} end
for fan, left_ms in groups() do
  if not redis.call('ZSCORE', act, fan) then redis.call('ZADD', kept, text(now + num(left_ms)), fan) end
end
return {DONE}
