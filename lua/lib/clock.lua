-- lib.clock - The time of the Redis server, which is the only clock there is.
--
-- An application's clock is never used: a process 120 s behind would write
-- leases that are over before anybody reads them.
local clock = {
  -- How long a record's viewers outlive its last lease: a sweep still finds
  -- out who is gone, and can say so.
  GRACE_MS = 1000,
}

local now_ms, now_us

-- Milliseconds (for leases) and microseconds (for versions) since the epoch;
-- they stand still while a script runs.
function clock.now()
  if not now_us then
    local time = redis.call("TIME")
    now_us = time[1] * 1000000 + time[2]
    now_ms = math.floor(now_us / 1000)
  end
  return now_ms, now_us
end

return clock
