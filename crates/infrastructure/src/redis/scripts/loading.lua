-- Whether the line lives here (DONE), somebody loads it (UNDER_WAY), or somebody should (WANTED). Changes nothing.
local line = fields(st, 'run', 'life', 'loading', 'loading_at')
-- Settings that an older program wrote in another form are loaded anew, and the line with them.
local lives = line.life and redis.call('HEXISTS', cfg, 'policy') == 1
if lives and same_server(line.run) then return {DONE} end
if line.loading and num(line.loading_at) > now - LOADING_TIMEOUT_MS then return {UNDER_WAY} end
return {WANTED}
