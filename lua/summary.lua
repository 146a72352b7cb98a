-- summary - Sweep a record and sum up who has it open.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  user         string  JSON text of a user's id to look for; "" for none
-- ARGV[2]  lease_ms     int     > 0
-- ARGV[3]  nonce        string  random; part of a new version
-- ARGV[4]  timeline_ms  int     how long the timeline is kept; 0 writes none
-- ARGV[5]  max_bytes    int     of the users that are named, as an HTTP answer
--
-- Returns  {"OK", total, agents, opened_ms, is_cut, viewer, user, head, ...}; the users who edit or have
--          unsaved changes, each with the head of their entry, see viewer_list.summarize;
--          viewer the head of that of `user`, "" where they are not there
--          | {"SWEEP_FIRST"}, see roster.sweep_and_repair
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(viewers), at most 2,000 of whom it looks at, and O(stale tabs) to sweep them
local viewer_list = require("lib.viewer_list")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local user, lease_ms, nonce = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local timeline_ms, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local record = roster.sweep(keys, lease_ms, timeline_ms, nonce)
if record.has_unswept_tabs then
  return { "SWEEP_FIRST" }
end
local reply = { "OK" }
viewer_list.summarize(viewers, user, max_bytes, reply)
return reply
