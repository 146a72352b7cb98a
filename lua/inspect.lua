-- inspect - Tell all that a record holds, also what is not shown. Changes nothing.
--
-- KEYS[1]  tabs     hash  tab_id -> state
-- KEYS[2]  seen     zset  tab_id -> end of lease, ms
-- KEYS[3]  viewers  hash  user -> seat, "#" -> version and counts
--
-- Returns  {"OK", now_ms, meta, saves, claims, tab_id, lease_end, state, ...};
--          lease_end "" for a field without a lease, state "" for a lease without a field
-- Writes   nothing
-- Cost     O(tabs)
local clock = require("lib.clock")

local tabs, seen, viewers = KEYS[1], KEYS[2], KEYS[3]

local meta, saves, claims = unpack(redis.call("HMGET", viewers, "#", "#saves", "#claims"))
local now_ms = string.format("%d", math.floor(clock.now_us() / 1000))
local reply = { "OK", now_ms, meta or "", saves or "", claims or "" }
local function append(tab_id, lease_end, state)
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = tab_id, lease_end, state
end
local leases = redis.call("ZRANGE", seen, 0, -1, "WITHSCORES")
local is_leased = {}
for i = 1, #leases, 2 do
  is_leased[leases[i]] = true
  append(leases[i], leases[i + 1], redis.call("HGET", tabs, leases[i]) or "")
end
local held = redis.call("HGETALL", tabs)
for i = 1, #held, 2 do
  if not is_leased[held[i]] then
    append(held[i], "", held[i + 1])
  end
end
return reply
