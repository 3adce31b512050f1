-- wrk: reservations.
--
-- Environment: TOKENS (file: "access_token queue_token body" a line), SHOW (id), EXPECT (201 to win, 409 to lose)
local lines = {}
for line in io.lines(os.getenv("TOKENS")) do
  local access, queue, body = line:match("^(%S+) (%S+) (.*)$")
  lines[#lines + 1] = { access, queue, body }
end
local path = "/api/v1/shows/" .. os.getenv("SHOW") .. "/reservations"
local expect = tonumber(os.getenv("EXPECT"))
local threads, all = 0, {}
function setup(thread)
  thread:set("first", threads)
  threads = threads + 1
  all[#all + 1] = thread
end
local at
function request()
  -- Two threads take the even and the odd lines, so that none is sent twice until all are.
  at = (at or first - 1) + 2
  local line = lines[at % #lines + 1]
  return wrk.format("POST", path, { ["Authorization"] = "Bearer " .. line[1], ["Queue-Token"] = line[2],
    ["Content-Type"] = "application/json" }, line[3])
end
wrong = 0
function response(status)
  if status ~= expect then wrong = wrong + 1 end
end
function done(summary)
  local sum = 0
  for _, thread in ipairs(all) do sum = sum + thread:get("wrong") end
  print(string.format("RESULT %.0f wrong %d", summary.requests / (summary.duration / 1e6), sum))
end
