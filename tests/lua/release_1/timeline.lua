-- timeline - Sweep a record and read what happened to it.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order        zset    user -> arrival, crowds only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  since        string  id of the last entry that is known; "" for none
-- ARGV[2]  limit        int     entries to read
-- ARGV[3]  lease_ms     int     > 0
-- ARGV[4]  nonce        string  random; part of a new version
-- ARGV[5]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", id, entry, ...}; entries as in lib.timeline
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(limit), and O(stale tabs) to sweep them
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local since, limit = ARGV[1], tonumber(ARGV[2])
local lease_ms, nonce, timeline_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
roster.settle(room)
roster.commit(room, nonce)
if not room.meta and redis.call("EXISTS", seen) == 0 and roster.timeline.is_open(room) then
  room.entries = { { "reset" } }
  roster.timeline.write(room)
end

-- What is too old is trimmed when something is written, which may be long ago.
local first = string.format("%d", math.max(0, room.now_ms - timeline_ms))
local since_ms = string.match(since, "^%d+")
if since_ms and tonumber(since_ms) >= tonumber(first) then
  first = "(" .. since
end
local reply = { "OK" }
if timeline_ms <= 0 then
  return reply
end
for _, item in ipairs(redis.call("XRANGE", timeline, first, "+", "COUNT", limit)) do
  reply[#reply + 1], reply[#reply + 2] = item[1], item[2][2]
end
return reply
