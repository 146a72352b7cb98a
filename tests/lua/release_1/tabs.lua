-- tabs - Sweep a record and list every live tab.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order        zset    user -> arrival, crowds only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  lease_ms     int     > 0
-- ARGV[2]  nonce        string  random; part of a new version
-- ARGV[3]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", tab_id, lease_end, state, ...}
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(tabs)
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local function sweep(is_damaged)
  local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
  room.damaged = room.damaged or is_damaged
  roster.settle(room)
  roster.commit(room, nonce)
end

sweep(false)

local reply = { "OK" }
local is_damaged = false
local leases = redis.call("ZRANGE", seen, 0, -1, "WITHSCORES")
for i = 1, #leases, 2 do
  local state = redis.call("HGET", tabs, leases[i])
  if roster.is_state(state) then
    reply[#reply + 1] = leases[i]
    reply[#reply + 1] = leases[i + 1]
    reply[#reply + 1] = state
  else
    is_damaged = true
  end
end
if is_damaged then
  -- Another system has written over a tab: the viewers must say the same as this list.
  sweep(true)
end
return reply
