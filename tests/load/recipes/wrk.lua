-- Heartbeats of a hundred tabs on fifty records, all of one user, as fast as they are answered.
--
--   wrk -t1 -c16 -d10s --latency -s tests/load/recipes/wrk.lua http://127.0.0.1:8000 -- "$token"
local TABS, RECORDS = 100, 50
local turn = 0

function init(args)
  if not args[1] then
    io.stderr:write("After -- comes a token, of .venv/bin/flask token\n")
    os.exit(1)
  end
  wrk.method = "POST"
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  turn = turn % TABS + 1
  local path = string.format("/api/v1/presence/flow/%d/heartbeat", turn % RECORDS + 1)
  return wrk.format(nil, path, nil, string.format('{"tab_id":"wrk-%d","mode":"view","dirty":false}', turn))
end

-- "Requests/sec" counts refused ones as well: a 429 is answered quickly.
function done(summary)
  print(string.format("Refused: %d of %d", summary.errors.status, summary.requests))
end
