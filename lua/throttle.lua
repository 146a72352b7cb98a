-- throttle - Count one call of a user against the limit of the current window.
--
-- KEYS[1]  calls      string  calls in this window; ends with it
-- ARGV[1]  limit      int     calls a window may hold
-- ARGV[2]  window_ms  digits  > 0
--
-- Returns  {"OK"} | {"THROTTLED", retry_after_ms}
-- Writes   calls
-- Cost     O(1)
local quota = require("lib.quota")

local calls = KEYS[1]
local limit, window_ms = tonumber(ARGV[1]), ARGV[2]

local retry_after_ms = quota.take(calls, limit, window_ms)
if retry_after_ms then
  return { "THROTTLED", retry_after_ms }
end
return { "OK" }
