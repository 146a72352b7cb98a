-- saved - Remember who saved which version of the record, and tell its viewers.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order        zset    user -> arrival, crowds only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  row          string  JSON array, see lib.notes; the time is put in here
-- ARGV[2]  lease_ms     int     > 0
-- ARGV[3]  nonce        string  random; part of a new version
-- ARGV[4]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK"} | {"ABSENT"} when nobody has the record open | {"TAB_TAKEN"}
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(saves remembered + last entries of the timeline), at most 50 of each
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row, lease_ms, nonce, timeline_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
local save = cjson.decode(row)
local lock_version, user, name, tab_id = save[1], save[2], save[3], save[4]
local held, is_live = roster.find(room, tab_id)
if is_live and held.user ~= user then
  return { "TAB_TAKEN" }
end
save[5] = string.format("%d", room.now_ms)
if roster.notes.save(room, save) and not roster.timeline.has_saved(room, lock_version) then
  local entry = { "saved", user, name, tab_id, lock_version }
  for i = 6, #save do
    entry[i] = save[i]
  end
  room.entry = entry
end
roster.settle(room)
roster.commit(room, nonce)
if redis.call("EXISTS", seen) == 0 then
  return { "ABSENT" }
end
return { "OK" }
