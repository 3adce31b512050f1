-- wrk: joins or polls of many fans, one token after the other. Counts every answer that is not the right one.
--
-- Environment: TOKENS (file of access tokens, one a line), CONCERT (id), WHAT (join | poll)
local tokens = {}
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = line end
local path = "/api/v1/concerts/" .. os.getenv("CONCERT") .. "/queue/tokens"
local method = "POST"
if os.getenv("WHAT") == "poll" then
  path, method = path .. "/me", "GET"
end
local threads, all = 0, {}
function setup(thread)
  threads = threads + 1
  thread:set("start", threads)
  all[#all + 1] = thread
end
local at
function request()
  at = (at or start * 7919) + 1
  return wrk.format(method, path, { ["Authorization"] = "Bearer " .. tokens[at % #tokens + 1] })
end
wrong = 0
function response(status)
  if status ~= 200 and status ~= 201 then wrong = wrong + 1 end
end
function done(summary)
  local sum = 0
  for _, thread in ipairs(all) do sum = sum + thread:get("wrong") end
  print(string.format("RESULT %.0f wrong %d", summary.requests / (summary.duration / 1e6), sum))
end
