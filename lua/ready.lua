-- ready - Find out whether Redis takes writes: not loading, not a replica, not full.
--
-- KEYS[1]  probe  string  gone after a second
--
-- Returns  {"OK"}
-- Writes   probe
-- Cost     O(1)
local probe = KEYS[1]

redis.call("SET", probe, "", "PX", "1000")
return { "OK" }
