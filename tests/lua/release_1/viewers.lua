-- viewers - Sweep a record and list who has it open.
--
-- KEYS[1]  tabs           hash    tab_id -> state
-- KEYS[2]  seen           zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers        hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order          zset    user -> arrival, crowds only
-- KEYS[5]  timeline       stream  what happened
-- KEYS[6]  calls          string  calls of the user in this window
-- ARGV[1]  known_version  string  "?" when there is none
-- ARGV[2]  limit          int     viewers to list
-- ARGV[3]  user           string  is she among the viewers? "" asks nothing
-- ARGV[4]  lease_ms       int     > 0
-- ARGV[5]  nonce          string  random; part of a new version
-- ARGV[6]  timeline_ms    int     how long the timeline is kept; 0 writes none
-- ARGV[7]  calls_limit    int     calls a window may hold; 0 counts none
-- ARGV[8]  window_ms      digits  > 0 where calls are counted
--
-- Returns  {"OK", version, is_viewing, total, opened_ms, saves, claims, user, seat, ...}
--          | {"UNCHANGED", version} | {"THROTTLED", retry_after_ms}
-- Writes   tabs, seen, viewers, order, timeline, calls
-- Cost     O(limit), and O(stale tabs) to sweep them
local clock = require("lib.clock")
local quota = require("lib.quota")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local calls = KEYS[6]
local known_version, limit, user = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local calls_limit, window_ms = tonumber(ARGV[7]), ARGV[8]

local retry_after_ms = calls_limit > 0 and quota.take_unless_full(calls, calls_limit, window_ms)
if retry_after_ms then
  return { "THROTTLED", retry_after_ms }
end

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
roster.settle(room)
roster.commit(room, nonce)
if known_version == room.version then
  return { "UNCHANGED", room.version }
end
local is_viewing = user ~= "" and redis.call("HEXISTS", viewers, user) or 0
local reply = { "OK", room.version, is_viewing }
roster.list(viewers, order, limit, reply)
return reply
