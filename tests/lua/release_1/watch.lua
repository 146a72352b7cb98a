-- watch - Sweep a record for those who stream it, and say when to look again.
--
-- KEYS[1]  tabs           hash    tab_id -> state
-- KEYS[2]  seen           zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers        hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order          zset    user -> arrival, crowds only
-- KEYS[5]  timeline       stream  what happened
-- ARGV[1]  known_version  string  "?" when there is none
-- ARGV[2]  limit          int     viewers to list; 0 asks for the version only
-- ARGV[3]  lease_ms       int     > 0
-- ARGV[4]  nonce          string  random; part of a new version
-- ARGV[5]  timeline_ms    int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", version, next_ms, total, opened_ms, saves, claims, user, seat, ...}
--          | {"OK", version, next_ms} | {"UNCHANGED", version, next_ms};
--          next_ms until the next lease ends, -1 when there is none
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(limit) when the version is not known, and O(stale tabs) to sweep them
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local known_version, limit = ARGV[1], tonumber(ARGV[2])
local lease_ms, nonce, timeline_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
roster.settle(room)
roster.commit(room, nonce)
local next_ms = roster.next_ms(room) or -1
if known_version == room.version then
  return { "UNCHANGED", room.version, next_ms }
end
local reply = { "OK", room.version, next_ms }
if limit > 0 then
  roster.list(viewers, order, limit, reply)
end
return reply
