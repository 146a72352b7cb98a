-- signal - Pass on what a live tab is doing just now; nothing of it is kept.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- KEYS[7]  calls        string  signals of the user in this window
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id
-- ARGV[3]  message      string  what the record's streams get
-- ARGV[4]  lease_ms     int     > 0
-- ARGV[5]  calls_limit  int     signals a window may hold; 0 counts none
-- ARGV[6]  window_ms    digits  > 0 where signals are counted
--
-- Returns  {"OK"} | {"ABSENT"} | {"TAB_TAKEN"} | {"THROTTLED", retry_after_ms}
-- Writes   calls
-- Cost     O(log tabs)
local quota = require("lib.quota")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved, calls = KEYS[6], KEYS[7]
local tab_id, user, message = ARGV[1], ARGV[2], ARGV[3]
local lease_ms = tonumber(ARGV[4])
local calls_limit, window_ms = tonumber(ARGV[5]), ARGV[6]

local retry_after_ms = calls_limit > 0 and quota.consume_if_writable(calls, calls_limit, window_ms)
if retry_after_ms then
  return { "THROTTLED", retry_after_ms }
end

local record = roster.open({ tabs, seen, viewers, order, timeline, unsaved }, lease_ms, 0)
local state, is_live = roster.find(record, tab_id)
if not is_live then
  return { "ABSENT" }
end
if state.user ~= user then
  return { "TAB_TAKEN" }
end
redis.call("PUBLISH", tabs, message)
return { "OK" }
