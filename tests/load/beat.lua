-- Sends the requests of a file, one after the other, over and over.
--
--   wrk ... -s beat.lua URL -- FILE [PAUSE_MS]
--
-- With a pause, each connection waits so long on average before it sends again:
-- at times of its own, as people do, and not in step.
--
-- The requests stand in the file as they go over the wire, parted by NUL, so
-- that the generator's share of the machine is a table look-up a request.
local requests, next_request = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for request in string.gmatch(file:read("*a"), "%Z+") do
    requests[#requests + 1] = request
  end
  file:close()
  local pause_ms = tonumber(args[2] or 0)
  if pause_ms > 0 then
    function delay()
      return math.random(0, 2 * pause_ms)
    end
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"failed":%d}',
    summary.requests,
    summary.duration,
    latency:percentile(50),
    latency:percentile(99),
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
