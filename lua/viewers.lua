-- viewers - Sweep a record and list who has it open.
--
-- KEYS[1]   tabs           hash    tab_id -> state
-- KEYS[2]   seen           zset    tab_id -> end of lease, ms
-- KEYS[3]   viewers        hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]   order          zset    user -> arrival; long lists only
-- KEYS[5]   timeline       stream  what happened
-- KEYS[6]   unsaved        zset    index of unsaved fields; long lists only
-- KEYS[7]   calls          string  the user's calls in this window
-- ARGV[1]   known_version  string  "?" when there is none
-- ARGV[2]   limit          int     viewers to list
-- ARGV[3]   user           string  whether this user is a viewer; "" does not ask
-- ARGV[4]   lease_ms       int     > 0
-- ARGV[5]   nonce          string  random; part of a new version
-- ARGV[6]   timeline_ms    int     how long the timeline is kept; 0 writes none
-- ARGV[7]   calls_limit    int     calls a window may hold; 0 counts none
-- ARGV[8]   window_ms      digits  > 0 where calls are counted
-- ARGV[9]   after          int     list those who arrived after this place; 0: from the first one
-- ARGV[10]  max_bytes      int     of the viewers, as an HTTP answer
--
-- Returns  {"OK", version, is_viewing, is_cut, total, opened_ms, remembered_since_ms, saves, claims,
--          waiting, user, entry, ...};
--          is_cut 1 when there are more viewers
--          | {"UNCHANGED", version} | {"THROTTLED", retry_after_ms}
--          | {"SWEEP_FIRST"}, see roster.sweep_and_repair
-- Writes   tabs, seen, viewers, order, timeline, unsaved, calls
-- Cost     O(limit), and O(stale tabs) to sweep them
local quota = require("lib.quota")
local viewer_list = require("lib.viewer_list")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved, calls = KEYS[6], KEYS[7]
local known_version, limit, user = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local calls_limit, window_ms = tonumber(ARGV[7]), ARGV[8]
local after, max_bytes = tonumber(ARGV[9]), tonumber(ARGV[10])

local retry_after_ms = calls_limit > 0 and quota.consume_if_writable(calls, calls_limit, window_ms)
if retry_after_ms then
  return { "THROTTLED", retry_after_ms }
end

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local record = roster.sweep(keys, lease_ms, timeline_ms, nonce)
if record.has_unswept_tabs then
  return { "SWEEP_FIRST" }
end
if known_version == record.version then
  return { "UNCHANGED", record.version }
end
local is_viewing = user ~= "" and redis.call("HEXISTS", viewers, user) or 0
local reply = { "OK", record.version, is_viewing, 0 }
local page = { after = after, limit = limit, max_bytes = max_bytes }
if viewer_list.append(viewers, order, page, reply) then
  reply[4] = 1
end
return reply
