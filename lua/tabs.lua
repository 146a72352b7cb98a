-- tabs - Sweep a record and list its live tabs, those first whose leases end first.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  lease_ms     int     > 0
-- ARGV[2]  nonce        string  random; part of a new version
-- ARGV[3]  timeline_ms  int     how long the timeline is kept; 0 writes none
-- ARGV[4]  after        string  "lease_end-tab_id" to go on after; "" from the first one
-- ARGV[5]  limit        int     tabs to list
-- ARGV[6]  max_bytes    int     of the tabs, as an HTTP answer
--
-- Returns  {"OK", is_cut, tab_id, lease_end, state, ...}; is_cut 1 when there are more
--          | {"SWEEP_FIRST"}, see roster.sweep_and_repair
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(limit), and O(stale tabs) to sweep them
local tab_pages = require("lib.tab_pages")
local tab_state = require("lib.tab_state")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local after, limit, max_bytes = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

local keys = { tabs, seen, viewers, order, timeline, unsaved }
if roster.sweep(keys, lease_ms, timeline_ms, nonce).has_unswept_tabs then
  return { "SWEEP_FIRST" }
end

local reply = { "OK", 0 }
local is_damaged = false
local page = { after = after, limit = limit, max_bytes = max_bytes }
local is_cut = tab_pages.each(tabs, seen, page, function(tab_id, lease_end, state)
  if tab_state.decode(state) then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = tab_id, lease_end, state
  else
    is_damaged = true
  end
end)
if is_cut then
  reply[2] = 1
end
if is_damaged then
  -- Another system has written over a tab: the viewers must say the same as this list.
  roster.sweep(keys, lease_ms, timeline_ms, nonce, is_damaged)
end
return reply
