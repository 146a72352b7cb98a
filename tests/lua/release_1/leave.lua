-- leave - Remove a tab at once, because its page says goodbye.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order        zset    user -> arrival, crowds only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id; "" removes anybody's
-- ARGV[3]  reason       string  left or evicted
-- ARGV[4]  lease_ms     int     > 0
-- ARGV[5]  nonce        string  random; part of a new version
-- ARGV[6]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK"} | {"ABSENT"} | {"TAB_TAKEN"}
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(log tabs)
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tab_id, user, reason = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
local held, is_live = roster.find(room, tab_id)
if is_live and user ~= "" and held.user ~= user then
  return { "TAB_TAKEN" }
end
if is_live then
  roster.drop(room, tab_id, reason)
end
roster.settle(room)
roster.commit(room, nonce)
if is_live then
  return { "OK" }
end
return { "ABSENT" }
