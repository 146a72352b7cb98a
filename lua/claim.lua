-- claim - Claim a field for a tab, take it over, wait for it, or let it go; it never blocks a save.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  tab_id       string
-- ARGV[2]  user         string  JSON text of the owner's id
-- ARGV[3]  field        string  "*" for the whole record
-- ARGV[4]  action       string  claim, take (also from another tab), wait (for another tab),
--                               release (or wait no longer) or decline (who waits is sent away)
-- ARGV[5]  lease_ms     int     > 0
-- ARGV[6]  nonce        string  random; part of a new version
-- ARGV[7]  timeline_ms  int     how long the timeline is kept; 0 writes none
-- ARGV[8]  idle_ms      int     > 0; how long a holder may be away while this tab waits
--
-- Returns  {"OK", row, version}, row as in lib.claims, "" after a release; since which
--            version of the record that is so
--          | {"OK", row, version, count} of a decline: how many were sent away; row "" where
--            the tab does not have the field
--          | {"CLAIMED", row, version} by another tab
--          | {"WAITING", row, version, place} for this claim; place 1 is the next to have it
--          | {"TAKEN_RECENTLY", row, version}, not to be taken again yet
--          | {"NOT_EDITING", row | "", version} | {"TOO_MANY", row | "", version} of this user's
--          | {"ABSENT"} without a live tab | {"TAB_TAKEN"}
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(claims + who waits), at most 100 of each
local claims = require("lib.claims")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local tab_id, user, field, action = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local idle_ms = tonumber(ARGV[8])

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local record = roster.open(keys, lease_ms, timeline_ms)
local state, is_live = roster.find(record, tab_id)
if not is_live then
  return { "ABSENT" }
end
if state.user ~= user then
  return { "TAB_TAKEN" }
end
local is_swept = record.has_queue
if is_swept then
  -- Whoever waits for a tab that is gone comes before this one.
  roster.sweep_and_repair(record)
  roster.settle_claims(record)
end

local function let_go(own)
  if own then
    record.action_entry = { "released", user, state.name, tab_id, field }
    claims.release(record, own)
  else
    claims.stop_waiting(record, field, tab_id)
  end
end

-- Take, or be given, a field that nothing is in the way of but the claims `taken`.
local function be_given(taken)
  local row = claims.new_claim(record, field, tab_id, user, state.name, taken[1])
  local entry = { "claimed", user, state.name, tab_id, field }
  if taken[1] then
    entry[6], entry[7] = taken[1][3], taken[1][4]
  end
  if not claims.add(record, row) then
    return nil
  end
  claims.stop_waiting(record, field, tab_id)
  record.action_entry = entry
  return row
end

local function is_any_taken_recently(rows)
  for _, row in ipairs(rows) do
    if claims.is_taken_recently(record, row, user) then
      return true
    end
  end
  return false
end

local function answer()
  local own = claims.find_own(record, field, tab_id)
  if action == "release" then
    let_go(own)
    return { "OK", "" }
  elseif action == "decline" then
    local count = own and claims.decline(record, own) or 0
    return { "OK", own and cjson.encode(own) or "", "", count }
  elseif own then
    return { "OK", cjson.encode(own) }
  end
  local in_way = claims.find_in_way(record, field, tab_id)
  local first_row = in_way[1] and cjson.encode(in_way[1]) or ""
  if not state.is_editing then
    return { "NOT_EDITING", first_row }
  elseif in_way[1] and action == "claim" then
    return { "CLAIMED", first_row }
  elseif in_way[1] and action == "wait" then
    if claims.wait(record, field, tab_id, user, state.name, idle_ms) then
      return { "WAITING", first_row, "", claims.place_of(record, field, tab_id) }
    end
    return { "TOO_MANY", first_row }
  elseif is_any_taken_recently(in_way) then
    return { "TAKEN_RECENTLY", first_row }
  end
  local row = be_given(in_way)
  if not row then
    return { "TOO_MANY", first_row }
  end
  return { "OK", cjson.encode(row) }
end

local reply = answer()
if record.is_modified or reply[1] == "OK" then
  if not is_swept then
    roster.sweep_and_repair(record)
  end
  roster.commit(record, nonce)
end
reply[3] = record.version
return reply
