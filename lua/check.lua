-- check - Say what writing some fields would run into: newer saves, unsaved changes, and claims.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  fields       string  JSON array of names, "*" for all; none: only see to the index
-- ARGV[2]  tab_id       string  the asker's own, which is not held against them; "" for none
-- ARGV[3]  user         string  JSON text of the asker's id; "" for none
-- ARGV[4]  lease_ms     int     > 0
-- ARGV[5]  nonce        string  random; part of a new version, where leases are over
-- ARGV[6]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", version} without fields
--          | {"OK", version, remembered_since_ms, saves, claims, holders, user, entry, ...}; "0"
--          of an empty record; saves and claims as lib.conflicts has them, of all fields;
--          holders and entries as lib.unsaved_fields appends them
--          | {"TAB_TAKEN"} | {"SWEEP_FIRST"}, see roster.sweep_and_repair
--          | {"INDEX_FIRST"}, see unsaved_fields.prepare
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(fields + who has them unsaved), at most some hundred; of few viewers O(viewers)
local unsaved_fields = require("lib.unsaved_fields")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local fields, tab_id, user = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local names = cjson.decode(fields)
local record = roster.open(keys, lease_ms, timeline_ms)
if not unsaved_fields.prepare(viewers, order, unsaved, record.version) then
  return { "INDEX_FIRST" }
end
if #names == 0 then
  return { "OK", record.version }
end
roster.sweep_and_repair(record)
roster.commit(record, nonce)
if record.has_unswept_tabs then
  return { "SWEEP_FIRST" }
end

local own = { user = "", fields = {} }
if tab_id ~= "" then
  local state, is_live = roster.find(record, tab_id)
  if is_live and user ~= "" and state.user ~= user then
    return { "TAB_TAKEN" }
  end
  if is_live then
    own.user = state.user
    for _, name in ipairs(state.dirty_fields) do
      own.fields[name] = true
    end
  end
end

local meta, saves, claims = unpack(redis.call("HMGET", viewers, "#", "#saves", "#claims"))
local remembered_since_ms = meta and string.match(meta, "%d+$") or "0"
local reply = { "OK", record.version, remembered_since_ms, saves or "", claims or "" }
unsaved_fields.append(reply, viewers, order, unsaved, record.version, names, own)
return reply
