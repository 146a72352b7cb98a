-- inspect - Return everything that a record holds, also what is not shown. Changes nothing.
--
-- KEYS[1]  tabs       hash    tab_id -> state
-- KEYS[2]  seen       zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers    hash    user -> viewer entry, "#" -> meta, see lib.roster
-- ARGV[1]  after      string  "lease_end-tab_id" to go on after; "" from the first one
-- ARGV[2]  limit      int     tabs with a lease to list
-- ARGV[3]  max_bytes  int     of these and of the others, as an HTTP answer
--
-- Returns  {"OK", is_cut, now_ms, meta, saves, claims, waiting, tab_id, lease_end,
--            state, ...};
--          is_cut 1 when there are more tabs with a lease; lease_end "" for a field
--          without a lease, on the last page; state "" for a lease without a field
-- Writes   nothing
-- Cost     O(limit), and O(tabs) for the last page
local clock = require("lib.clock")
local tab_pages = require("lib.tab_pages")

local tabs, seen, viewers = KEYS[1], KEYS[2], KEYS[3]
local after, limit, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local meta, saves, claims, waiting =
  unpack(redis.call("HMGET", viewers, "#", "#saves", "#claims", "#waiting"))
local now_ms = string.format("%d", math.floor(clock.now_us() / 1000))
local reply = { "OK", 1, now_ms, meta or "", saves or "", claims or "", waiting or "" }
local bytes = 0
local function append(tab_id, lease_end, state)
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = tab_id, lease_end, state or ""
  bytes = bytes + #tab_id + #(state or "")
end
local page = { after = after, limit = limit, max_bytes = max_bytes }
if tab_pages.each(tabs, seen, page, append) then
  return reply
end
reply[2] = 0

-- Fields without a lease: nothing counts them, and the next sweep clears them away. So they
-- have no order to go on from, and are listed as far as they fit.
local is_leased = {}
for _, tab_id in ipairs(redis.call("ZRANGE", seen, 0, -1)) do
  is_leased[tab_id] = true
end
for _, tab_id in ipairs(redis.call("HKEYS", tabs)) do
  if not is_leased[tab_id] and bytes + redis.call("HSTRLEN", tabs, tab_id) <= max_bytes then
    append(tab_id, "", redis.call("HGET", tabs, tab_id))
  end
end
return reply
