-- wrk: reservations. Counts the answers that are the right ones, and tells what the others were.
--
-- Environment: TOKENS (file: "access_token queue_token body" a line), SHOW (id), EXPECT (201 to win,
-- seat_taken|version_conflict to lose)
--
-- What a refusal means is in its code, not in its status: a fan who holds a reservation already gets a 409 too, and has
-- lost no race.
local lines = {}
for line in io.lines(os.getenv("TOKENS")) do
  local access, queue, body = line:match("^(%S+) (%S+) (.*)$")
  lines[#lines + 1] = { access, queue, body }
end
local path = "/api/v1/shows/" .. os.getenv("SHOW") .. "/reservations"
local expected = {}
for outcome in os.getenv("EXPECT"):gmatch("[^|]+") do
  expected[outcome] = true
end
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
wrong, outcomes = 0, ""
local seen = {}
function response(status, _, body)
  local outcome = tostring(status)
  if status >= 400 then outcome = body:match('"code"%s*:%s*"([%w_]+)"') or outcome end
  if expected[outcome] then return end
  wrong = wrong + 1
  if not seen[outcome] then
    seen[outcome] = true
    outcomes = outcomes .. " " .. outcome
  end
end
function done(summary)
  local sum, told = 0, ""
  for _, thread in ipairs(all) do
    sum, told = sum + thread:get("wrong"), told .. thread:get("outcomes")
  end
  print(string.format("RESULT %.0f wrong %d%s", (summary.requests - sum) / (summary.duration / 1e6), sum, told))
end
