-- wrk: polls of many fans, one token after the other. Counts every answer that is not the right one.
--
-- Environment: TOKENS (file: "access_token queue_token" a line), CONCERT (id)
local tokens = {}
for line in io.lines(os.getenv("TOKENS")) do
  local access, queue = line:match("^(%S+) (%S+)$")
  tokens[#tokens + 1] = { ["Authorization"] = "Bearer " .. access, ["Queue-Token"] = queue }
end
local path = "/api/v1/concerts/" .. os.getenv("CONCERT") .. "/queue/tokens/me"
local threads, all = 0, {}
function setup(thread)
  threads = threads + 1
  thread:set("start", threads)
  all[#all + 1] = thread
end
local at
function request()
  at = (at or start * 7919) + 1
  return wrk.format("GET", path, tokens[at % #tokens + 1])
end
wrong = 0
function response(status)
  if status ~= 200 then wrong = wrong + 1 end
end
function done(summary)
  local sum = 0
  for _, thread in ipairs(all) do sum = sum + thread:get("wrong") end
  print(string.format("RESULT %.0f wrong %d", summary.requests / (summary.duration / 1e6), sum))
end
