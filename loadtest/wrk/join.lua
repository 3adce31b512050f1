-- wrk: joins of new fans, each once. Counts every answer but 201.
--
-- Environment: TOKENS (file with an access token a line), CONCERT (id), THREADS (of wrk)
local tokens = {}
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = line end
local path = "/api/v1/concerts/" .. os.getenv("CONCERT") .. "/queue/tokens"
local share = math.floor(#tokens / tonumber(os.getenv("THREADS")))
local threads, all = 0, {}
function setup(thread)
  thread:set("at", threads * share)
  threads = threads + 1
  all[#all + 1] = thread
end
local headers = {}
function request()
  at = at + 1
  headers["Authorization"] = "Bearer " .. (tokens[at] or "")
  return wrk.format("POST", path, headers)
end
wrong = 0
function response(status)
  if status ~= 201 then wrong = wrong + 1 end
end
function done(summary)
  local sum = 0
  for _, thread in ipairs(all) do sum = sum + thread:get("wrong") end
  print(string.format("RESULT %.0f wrong %d", (summary.requests - sum) / (summary.duration / 1e6), sum))
end
