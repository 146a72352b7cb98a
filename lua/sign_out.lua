-- sign_out - Remember that a session was signed out, or look whether it was.
--
-- KEYS[1]  signed_out   string  there while the session's cookie may come back
-- ARGV[1]  lifetime_ms  digits  how long to remember it; 0 only looks
--
-- Returns  {"OK"} of a session that was signed out | {"ABSENT"}
-- Writes   signed_out
-- Cost     O(1)
local signed_out = KEYS[1]
local lifetime_ms = ARGV[1]

if lifetime_ms ~= "0" then
  redis.call("SET", signed_out, "", "PX", lifetime_ms)
elseif redis.call("EXISTS", signed_out) == 0 then
  return { "ABSENT" }
end
return { "OK" }
