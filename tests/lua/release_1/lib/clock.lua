-- lib.clock - The time of the Redis server, which is the only clock there is.
--
-- An application's clock is never used: a process 120 s behind would write
-- leases that are over before anybody reads them.
local clock = {}

-- Microseconds since the epoch. Ask once: it goes on while a script runs.
function clock.now_us()
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

return clock
