-- saved - Remember who saved which version of the record, and tell its viewers.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  row          string  JSON array, see lib.conflicts; the time is put in here
-- ARGV[2]  lease_ms     int     > 0
-- ARGV[3]  nonce        string  random; part of a new version
-- ARGV[4]  timeline_ms  int     how long the timeline is kept; 0 writes none
-- ARGV[5]  told_by      string  host, whose word wins, or viewer
--
-- Returns  {"OK", holders, user, entry, ...}, also when the same call was carried out before:
--            whose unsaved fields the save touched, as lib.unsaved_fields appends them
--          | {"ABSENT"} when nobody has the record open | {"TAB_TAKEN"}
--          | {"NOT_EDITING"} of a viewer without a live tab in mode edit
--          | {"KNOWN"} | {"FORGOTTEN"} | {"TOO_FAR"}, see lib.conflicts
--          | {"INDEX_FIRST"}, see unsaved_fields.prepare: nothing is saved yet
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(saves remembered + last entries of the timeline), at most 50 of each; and
--          O(fields + who has them unsaved) as in check.lua
local conflicts = require("lib.conflicts")
local timeline_entries = require("lib.timeline_entries")
local unsaved_fields = require("lib.unsaved_fields")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local row, lease_ms, nonce, timeline_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local told_by = ARGV[5]

local record = roster.open({ tabs, seen, viewers, order, timeline, unsaved }, lease_ms, timeline_ms)
local save = cjson.decode(row)
local lock_version, user, name, tab_id = save[1], save[2], save[3], save[4]
local state, is_live = roster.find(record, tab_id)
if is_live and state.user ~= user then
  return { "TAB_TAKEN" }
end
if told_by ~= "host" and not (is_live and state.is_editing) then
  return { "NOT_EDITING" }
end
if not unsaved_fields.prepare(viewers, order, unsaved, record.version) then
  return { "INDEX_FIRST" }
end
save[5] = string.format("%d", record.now_ms)
local add_save = told_by == "host" and conflicts.add_save_of_host or conflicts.add_save_of_viewer
local outcome = add_save(record, save)
-- A record that nobody has open gets no timeline by a save.
local is_news = outcome == "NEW"
  and redis.call("EXISTS", seen, timeline) > 0
  and (record.are_saves_replaced or not timeline_entries.has_saved(record, lock_version))
if is_news then
  local entry = { "saved", user, name, save[4], lock_version }
  for i = 6, #save do
    entry[i] = save[i]
  end
  record.action_entry = entry
end
roster.sweep_and_repair(record)
roster.commit(record, nonce)
if redis.call("EXISTS", seen) == 0 then
  return { "ABSENT" }
end
if outcome == "KNOWN" then
  return { "KNOWN" }
elseif outcome == "FORGOTTEN" then
  return { "FORGOTTEN" }
elseif outcome == "TOO_FAR" then
  return { "TOO_FAR" }
end

-- The tab that saved has these fields unsaved until its page has heard that they are saved;
-- where it is not known, it may be any of its user's.
local own = { user = user }
if tab_id ~= "" then
  own.fields = {}
  -- One whose lease is over is still counted if it was left to be swept.
  local counted = is_live and state or roster.find(record, tab_id)
  if counted and counted.user == user then
    for _, field in ipairs(counted.dirty_fields) do
      own.fields[field] = true
    end
  end
end
local names = {}
for i = 6, #save do
  names[#names + 1] = save[i]
end
local reply = { "OK" }
unsaved_fields.append(reply, viewers, order, unsaved, record.version, names, own)
return reply
