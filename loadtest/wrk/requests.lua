-- wrk: sends requests from a file and counts the answers that are right. The bare route is asked by this script with the same
-- requests as the route that it is compared with: what a script does costs wrk a lot, and a ratio must not measure that.
--
-- Environment:
--   REQUESTS  file, a request a line with tabs between: method, path, body, then names and values of headers
--   EXPECT    status of the right answer, and a text that its body must have: 409 "code":"seat_taken"; several with | between
--   ONCE      yes: no request is sent twice, and a run that had too few of them is told as exhausted
--   THREADS   of wrk
--
-- Prints one line of JSON behind ANSWERS. What a refusal means is in its code, not in its status: a fan who holds a reservation
-- already gets a 409 too, and has lost no race.
local threads, all = 0, {}
function setup(thread)
  thread:set("index", threads)
  threads = threads + 1
  all[#all + 1] = thread
end

local requests, expected, at = {}, {}, 0
local once = os.getenv("ONCE") == "yes"
-- Each thread has its own share of the requests, written before the clock runs.
function init()
  local share, number = tonumber(os.getenv("THREADS")), 0
  for line in io.lines(os.getenv("REQUESTS")) do
    if number % share == index then
      local fields, headers = {}, {}
      for field in (line .. "\t"):gmatch("([^\t]*)\t") do fields[#fields + 1] = field end
      for i = 4, #fields - 1, 2 do headers[fields[i]] = fields[i + 1] end
      requests[#requests + 1] = wrk.format(fields[1], fields[2], headers, fields[3] ~= "" and fields[3] or nil)
    end
    number = number + 1
  end
  for outcome in os.getenv("EXPECT"):gmatch("[^|]+") do
    local status, text = outcome:match("^(%d+) ?(.*)$")
    local texts = expected[tonumber(status)] or {}
    if text ~= "" then texts[#texts + 1] = text end
    expected[tonumber(status)] = texts
  end
  clock = os.clock()
end

exhausted = 0
function request()
  at = at + 1
  if at > #requests then
    if once then exhausted = 1 end
    at = 1
  end
  return requests[at]
end

wrong, outcomes = 0, ""
local seen = {}
function response(status, _, body)
  local texts = expected[status]
  if texts then
    if #texts == 0 then return end
    for i = 1, #texts do
      if body:find(texts[i], 1, true) then return end
    end
  end
  wrong = wrong + 1
  local outcome = status .. " " .. (body:match('"code"%s*:%s*"([%w_]+)"') or "")
  if not seen[outcome] then
    seen[outcome] = true
    outcomes = outcomes .. outcome .. "; "
  end
end

function done(summary, latency)
  local clock_now, clock_then, wrong_ones, exhausted_ones, told = os.clock(), 0, 0, 0, ""
  for _, thread in ipairs(all) do
    clock_then = math.max(clock_then, thread:get("clock"))
    wrong_ones = wrong_ones + thread:get("wrong")
    exhausted_ones = exhausted_ones + thread:get("exhausted")
    told = told .. thread:get("outcomes")
  end
  local errors = summary.errors
  print(string.format(
    'ANSWERS {"answers": %d, "wrong": %d, "outcomes": "%s", "exhausted": %d, "errors": %d, "secs": %.6f, "client_secs": %.6f, '
      .. '"p50_us": %.0f, "p99_us": %.0f}',
    summary.requests, wrong_ones, told, exhausted_ones, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, clock_now - clock_then, latency:percentile(50), latency:percentile(99)))
end
