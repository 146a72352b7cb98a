-- lib.timeline_entries - What happened to a record, in order: a stream of at most 1,000 entries, 256 KB.
--
-- An entry has two fields: "b", the bytes of all entries that were ever written, with
-- this one; and "e", a flat JSON array (every bracket costs bytes):
--
--   ["join" or "update", user, name, tabs, is_editing, is_dirty, number of
--    active fields, active field, ..., dirty field, ...]; is_editing is 0 or 1, and
--    false or true of a user who is away
--   ["changed", user, name, tabs, is_editing, is_dirty, number of active fields
--    added, of active fields removed, of dirty fields added, field, ...]: an
--    update of a viewer with too many fields for one entry; the fields in this
--    order, last the dirty fields removed
--   ["leave", user, name, reason, 1?]; 1: nobody is left
--   ["saved", user, name, tab_id, lock_version, field, ..., more?]; more: a number of
--    fields that had no room
--   ["claimed", user, name, tab_id, field, from_user?, from_name?, 1?]; 1: it was passed on
--   ["released", user, name, tab_id, field]
--   ["reset"]; it is no longer known who was there. Joins of everyone who still is follow
--
-- An entry has at most 512 bytes. What has no room stands in further entries right
-- after it; a name is cut; only ids and one field's name may make it longer.
--
-- The ids are Redis's own: milliseconds, which never run backwards.
local timeline_entries = {}

local MAX_ENTRIES = 1000 -- in a stream
local TRIM_BYTES = 4096 -- the head is looked at once in so many
local OVERHEAD_BYTES = 32 -- of an entry: its id and "b"; as in lib.timeline_budget
local MAX_ENTRY_BYTES = 512
local MAX_EARLY_END_MS = 10000 -- that a timeline may end early, so that not every entry moves its end
local SAVE_SEARCH_ENTRIES = 50 -- the last ones, which may tell of a save already
local EMPTY_STREAM_BYTES = 4608 -- that Redis reserves for a stream; counted when it is to be kept
local SHORT_STREAM_BYTES = 512 -- counted for it while it is kept for two leases only
local FIRST_READ_ENTRIES, NEXT_READ_ENTRIES = 10, 100 -- to read at once

-- Few calls need it, and to include it takes as long as a call to Redis.
local function load_budget()
  local timeline_budget = require("lib.timeline_budget")
  return timeline_budget
end

local function append_names(entry, counts, first, last)
  for i = first, last, 2 do
    entry[#entry + 1] = counts[i]
  end
end

-- Whether the user of a viewer entry (the array, see lib.viewer_entries) edits, and is away.
function timeline_entries.encode_editing(packed)
  local is_editing = packed[4] > 0
  local away = packed[6] == "" and tonumber(string.match(packed[7], "^%d+")) or 0
  if away >= packed[3] then
    return is_editing
  end
  return is_editing and 1 or 0
end

-- A viewer entry as a join or an update.
local function encode_viewer(kind, user, packed)
  local last = #packed
  local dirty_fields = type(packed[last]) == "table" and packed[last] or nil
  if dirty_fields then
    last = last - 1
  end
  local first = packed[6] == "" and 8 or 6
  local entry = {
    kind,
    user,
    packed[1],
    packed[3],
    timeline_entries.encode_editing(packed),
    packed[5] > 0 and 1 or 0,
    (last - first + 1) / 2,
  }
  append_names(entry, packed, first, last)
  if dirty_fields then
    append_names(entry, dirty_fields, 1, #dirty_fields)
  end
  return entry
end

-- Append that a viewer came ("join") or changed ("update"); `before` and `after` are
-- viewer entries. One entry where all that is shown has room in it.
function timeline_entries.append_viewer(entries, kind, user, before, after)
  local whole = encode_viewer(kind, user, after)
  local bytes = 64 + #user + #whole[3]
  for i = 8, #whole do
    bytes = bytes + #whole[i] + 3
  end
  -- Escaped, a text may have twice as many.
  if bytes <= MAX_ENTRY_BYTES / 2 or #whole == 7 or #cjson.encode(whole) <= MAX_ENTRY_BYTES then
    entries[#entries + 1] = whole
    return
  end
  if kind == "join" then
    for i = 7, #whole do
      whole[i] = i == 7 and 0 or nil
    end
    entries[#entries + 1], before = whole, nil
  end
  load_budget().append_changed(entries, user, before, after, whole[5])
end

-- Whether one of the last entries tells of this save. The viewers hash remembers
-- saves only while there are viewers, and the call may be sent again after that.
function timeline_entries.has_saved(record, lock_version)
  if record.timeline_ms <= 0 then
    return false
  end
  local items = redis.call("XREVRANGE", record.timeline, "+", "-", "COUNT", SAVE_SEARCH_ENTRIES)
  for _, item in ipairs(items) do
    local entry = cjson.decode(item[2][2])
    if entry[1] == "saved" and entry[5] == lock_version then
      return true
    end
  end
  return false
end

-- Whether anybody was there after this entry; nil when it does not say.
local function is_anybody_left(entry)
  if entry[1] == "join" or entry[1] == "update" or entry[1] == "changed" then
    return true
  elseif entry[1] == "leave" then
    return entry[5] == nil
  elseif entry[1] == "reset" then
    return false
  end
end

-- Whether the timeline ends with somebody there. Where Redis has removed the keys
-- of a record by itself, nothing says that its viewers are gone. Costs O(saves and
-- claims since somebody came or went).
function timeline_entries.ends_with_viewers(record)
  if record.timeline_ms <= 0 then
    return false
  end
  local last, count = "+", FIRST_READ_ENTRIES
  while true do
    local items = redis.call("XREVRANGE", record.timeline, last, "-", "COUNT", count)
    for _, item in ipairs(items) do
      local is_left = is_anybody_left(cjson.decode(item[2][2]))
      if is_left ~= nil then
        return is_left
      end
    end
    if #items < count then
      return false
    end
    last, count = "(" .. items[#items][1], NEXT_READ_ENTRIES
  end
end

local function encode(entry)
  local text = cjson.encode(entry)
  if #text <= MAX_ENTRY_BYTES then
    return text
  end
  return cjson.encode(load_budget().shorten(entry))
end

-- Whether two users have the record open. The other fields of the viewers hash are the
-- meta, and the saves, claims and those who wait where there are any.
local function is_shared(record)
  local fields = redis.call("HLEN", record.viewers)
  if fields >= 3 and fields <= 5 then
    fields = fields - redis.call("HEXISTS", record.viewers, "#saves")
    fields = fields - redis.call("HEXISTS", record.viewers, "#claims")
    fields = fields - redis.call("HEXISTS", record.viewers, "#waiting")
  end
  return fields >= 3
end

-- How long to keep the timeline from now on. While no two users have met on it, it tells
-- nothing that anybody else would ask for.
local function choose_lifetime_ms(record, left_ms)
  local unshared_ms = 2 * record.max_lease_ms
  if left_ms > unshared_ms or unshared_ms >= record.timeline_ms or is_shared(record) then
    return record.timeline_ms
  end
  return unshared_ms
end

-- Write entries. Costs O(entries), nothing when there are none. What is too old is
-- no longer shown; it is trimmed when somebody comes or goes, because to look for it
-- takes as long as to write an entry.
function timeline_entries.write(record, entries)
  local timeline = record.timeline
  if record.timeline_ms <= 0 or #entries == 0 then
    return
  end
  local last = redis.call("XREVRANGE", timeline, "+", "-", "COUNT", 1)[1]
  local total_before = last and tonumber(last[2][4]) or 0
  local total, must_trim = total_before, false
  local left_ms = last and redis.call("PTTL", timeline) or 0
  for _, entry in ipairs(entries) do
    local text = encode(entry)
    total = total + #text + OVERHEAD_BYTES
    local total_text = string.format("%d", total)
    redis.call("XADD", timeline, "MAXLEN", MAX_ENTRIES, "*", "e", text, "b", total_text)
    must_trim = must_trim or entry[1] == "join" or entry[1] == "leave"
  end
  if must_trim then
    local oldest_ms = string.format("%d", math.max(0, record.now_ms - record.timeline_ms))
    redis.call("XTRIM", timeline, "MINID", oldest_ms)
  end
  local is_due = math.floor(total / TRIM_BYTES) > math.floor(total_before / TRIM_BYTES)
  if is_due or (last and not last[2][4]) then
    load_budget().trim(timeline, total)
  end
  local lifetime_ms = choose_lifetime_ms(record, left_ms)
  record.timeline_bytes = record.timeline_bytes + total - total_before
  if lifetime_ms > 2 * record.max_lease_ms and left_ms <= 2 * record.max_lease_ms then
    record.timeline_bytes = record.timeline_bytes + EMPTY_STREAM_BYTES
  elseif not last then
    record.timeline_bytes = record.timeline_bytes + SHORT_STREAM_BYTES
  end
  if math.abs(lifetime_ms - left_ms) > math.min(MAX_EARLY_END_MS, lifetime_ms / 10) then
    redis.call("PEXPIRE", timeline, string.format("%d", lifetime_ms))
  end
end

-- Write what a call has changed: who came, changed and left (the last of them, where
-- they are too many), and then what the call itself did.
function timeline_entries.write_changes(record)
  local changed, entries = record.timeline_entries, {}
  if record.is_recounted or (not record.meta and timeline_entries.ends_with_viewers(record)) then
    entries[1] = { "reset" }
  end
  for i = math.max(1, #changed - MAX_ENTRIES + 3), #changed do -- with room for the two others
    entries[#entries + 1] = changed[i]
  end
  entries[#entries + 1] = record.action_entry
  timeline_entries.write(record, entries)
end

return timeline_entries
