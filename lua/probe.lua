-- probe - Publish to a process's own channel, unless this server is a replica.
--
-- KEYS[1]  probe    string  the one of `ready`, which needs it no more
-- ARGV[1]  channel  string  of the process that asks
--
-- A replica would publish as well, but only to its own subscribers: it does not know what the primary
-- publishes once its link is down. DEL is a write that also a full Redis accepts.
--
-- Returns  {"OK"}
-- Writes   probe
-- Cost     O(1)
local probe = KEYS[1]
local channel = ARGV[1]

local deleted = redis.pcall("DEL", probe)
if type(deleted) == "table" and string.find(deleted.err, "READONLY", 1, true) then
  return redis.error_reply("READONLY This server is a replica.")
end
redis.call("PUBLISH", channel, "1")
return { "OK" }
