-- claim - Claim a field for a tab, take it over, or release it; it never blocks a save.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id
-- ARGV[3]  field        string
-- ARGV[4]  action       string  claim, take (also from another tab) or release
-- ARGV[5]  lease_ms     int     > 0
-- ARGV[6]  nonce        string  random; part of a new version
-- ARGV[7]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", row, version}, row as in lib.conflicts, "" after a release; since which
--            version of the record that is so
--          | {"CLAIMED", row, version} by another tab
--          | {"TAKEN_RECENTLY", row, version}, not to be taken again yet
--          | {"NOT_EDITING", row | "", version} | {"TOO_MANY", row | "", version} of this user's
--          | {"ABSENT"} without a live tab | {"TAB_TAKEN"}
-- Writes   tabs, seen, viewers, order, timeline
-- Cost     O(claims), at most 100
local conflicts = require("lib.conflicts")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tab_id, user, field, action = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])

local record = roster.open({ tabs, seen, viewers, order, timeline }, lease_ms, timeline_ms)
local state, is_live = roster.find(record, tab_id)
if not is_live then
  return { "ABSENT" }
end
if state.user ~= user then
  return { "TAB_TAKEN" }
end

local claim = conflicts.claim_on(record, field)
-- The tab that claimed the field may have expired, and not be swept yet.
local is_valid = claim and select(2, roster.find(record, claim[2]))
local is_own = claim and claim[2] == tab_id
local claim_row = is_valid and cjson.encode(claim) or ""
local row = ""
if action == "release" then
  if is_own then
    conflicts.release_claim(record, field)
    record.action_entry = { "released", user, state.name, tab_id, field }
  end
elseif is_own then
  row = cjson.encode(claim)
elseif not state.is_editing then
  return { "NOT_EDITING", claim_row, record.version }
elseif is_valid and action == "claim" then
  return { "CLAIMED", claim_row, record.version }
elseif is_valid and conflicts.is_taken_recently(record, claim, user) then
  return { "TAKEN_RECENTLY", claim_row, record.version }
else
  local taken = is_valid and claim or nil
  local new_claim = conflicts.new_claim(record, field, tab_id, user, state.name, taken)
  record.action_entry = { "claimed", user, state.name, tab_id, field }
  if is_valid then
    record.action_entry[6], record.action_entry[7] = claim[3], claim[4]
  end
  if not conflicts.add_claim(record, new_claim) then
    return { "TOO_MANY", claim_row, record.version }
  end
  row = cjson.encode(new_claim)
end
roster.sweep_and_repair(record)
roster.commit(record, nonce)
return { "OK", row, record.version }
