-- leave - Remove a tab at once, because its page is closed or an operator evicts it.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- KEYS[7]  left         hash    goodbyes, see lib.tombstones
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id; "" removes any user's tab
-- ARGV[3]  reason       string  left or evicted
-- ARGV[4]  lease_ms     int     > 0
-- ARGV[5]  nonce        string  random; part of a new version
-- ARGV[6]  timeline_ms  int     how long the timeline is kept; 0 writes none
-- ARGV[7]  stamp        string  when the call was made, see lib.tombstones
--
-- Returns  {"OK"} | {"ABSENT"} | {"TAB_TAKEN"}
-- Writes   tabs, seen, viewers, order, timeline, unsaved, left
-- Cost     O(log tabs)
local tombstones = require("lib.tombstones")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved, left = KEYS[6], KEYS[7]
local tab_id, user, reason = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local stamp = ARGV[7]

local record = roster.open({ tabs, seen, viewers, order, timeline, unsaved }, lease_ms, timeline_ms)
local state, is_live = roster.find(record, tab_id)
if is_live and user ~= "" and state.user ~= user then
  return { "TAB_TAKEN" }
end
-- A goodbye that was carried out already, or was made before one that was: a tab that is
-- there has come back since.
is_live = is_live and not tombstones.has_left_since(left, tab_id, user, stamp)
if is_live then
  roster.remove_tab(record, tab_id, reason)
end
-- Also of a tab that is not there: its first heartbeat may still be on the way.
tombstones.add(left, tab_id, user, stamp, lease_ms)
roster.sweep_and_repair(record)
roster.commit(record, nonce)
if is_live then
  return { "OK" }
end
return { "ABSENT" }
