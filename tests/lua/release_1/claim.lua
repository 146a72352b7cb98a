-- claim - Claim a field for a tab, take it over, or release it; it never blocks a save.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> seat, "#" -> version and counts
-- KEYS[4]  order        zset    user -> arrival, crowds only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id
-- ARGV[3]  field        string
-- ARGV[4]  action       string  claim, take (whoever has it) or release
-- ARGV[5]  lease_ms     int     > 0
-- ARGV[6]  nonce        string  random; part of a new version
-- ARGV[7]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", row} | {"CLAIMED", row} by another tab | {"ABSENT"} without a
--          live tab | {"TAB_TAKEN"} | {"FULL"}; row as in lib.notes, "" after a release
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(claims), at most 100
local clock = require("lib.clock")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tab_id, user, field, action = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])

local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
local room = roster.open(keys, clock.now_us(), lease_ms, timeline_ms)
local held, is_live = roster.find(room, tab_id)
if not is_live then
  return { "ABSENT" }
end
if held.user ~= user then
  return { "TAB_TAKEN" }
end
local notes = roster.notes
local claim = notes.claim_on(room, field)
-- The tab that claimed it may be gone without anybody having noticed.
local is_held = false
if claim then
  local _
  _, is_held = roster.find(room, claim[2])
end
local is_own = claim and claim[2] == tab_id
local row = ""
if action == "release" then
  if is_own then
    notes.release(room, field)
    room.entry = { "released", user, held.name, tab_id, field }
  end
elseif is_own then
  row = cjson.encode(claim)
elseif is_held and action == "claim" then
  return { "CLAIMED", cjson.encode(claim) }
else
  local mine = { field, tab_id, user, held.name, string.format("%d", room.now_ms) }
  room.entry = { "claimed", user, held.name, tab_id, field }
  if is_held then
    mine[6], mine[7] = claim[3], claim[4]
    room.entry[6], room.entry[7] = claim[3], claim[4]
  end
  if not notes.claim(room, mine) then
    return { "FULL" }
  end
  row = cjson.encode(mine)
end
roster.settle(room)
roster.commit(room, nonce)
return { "OK", row }
