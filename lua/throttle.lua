-- throttle - Count a call of a user against the limit of the current window.
--
-- KEYS[1]  calls      string  calls in this window; ends with it
-- ARGV[1]  limit      int     calls a window may hold
-- ARGV[2]  window_ms  digits  > 0
-- ARGV[3]  cost       int     how many calls this one counts as, 1 to limit
--
-- Returns  {"OK"} | {"THROTTLED", retry_after_ms}
-- Writes   calls
-- Cost     O(1)
local quota = require("lib.quota")

local calls = KEYS[1]
local limit, window_ms, cost = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local retry_after_ms = quota.consume(calls, limit, window_ms, cost)
if retry_after_ms then
  return { "THROTTLED", retry_after_ms }
end
return { "OK" }
