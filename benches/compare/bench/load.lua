-- wrk with tokens: `-- FILE FIRST COUNT` sends those lines of the file, each once; one line is sent again and again.

function init(arguments)
  local file, first, count = arguments[1], tonumber(arguments[2]), tonumber(arguments[3])
  if not file then return end
  local requests, number = {}, 0
  for line in io.lines(file) do
    number = number + 1
    if number > first + count then break end
    if number > first then
      wrk.headers["Authorization"] = "Bearer " .. line
      requests[#requests + 1] = wrk.format()
    end
  end
  if #requests < 2 then return end
  local next = 0
  -- Without a global of this name, wrk sends one request that it has ready.
  request = function()
    next = next + 1
    if next >= #requests then wrk.thread:stop() end
    return requests[math.min(next, #requests)]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %.1f, "p99": %.1f}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
