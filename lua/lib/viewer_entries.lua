-- lib.viewer_entries - What a record's viewers hash holds of each user: decode, count, encode, write.
--
-- A viewer entry is the JSON array
--
--   [name, arrival, tabs, editing, dirty, ("", away)?, field, count, ...,
--    [dirty_field, count, ...]?]
--
-- `tabs`, `editing` and `dirty` say how many live tabs the user has, and how many of them
-- edit and have unsaved changes; `away`, how many are not active; each `count`, how many
-- are in the field before it.
--
-- `arrival` orders the viewers, and says since when the user has been here: it is
-- s * PLACES_PER_SECOND + n for the n-th to arrive, s seconds after the record was opened.
-- So it grows by some digits at most, and takes no room of its own. Beyond
-- PLACES_PER_SECOND arrivals, n makes s a second too great, which does no harm.
--
-- Where the user has a profile (a picture and the like, see app/presence/profile.py), a
-- text stands in the place of `away`: "away profile", the profile being a JSON object. It
-- is kept once for all tabs of the user; each of them has a digest of it, so that a
-- heartbeat with another one is no unchanged heartbeat.
--
-- Releases that know none of this keep it all: to them, "" is a field like any other, and
-- an arrival any number. What they count may leave `away` wrong, until the user's tabs
-- change again: so it is never a reason to repair a record.
--
-- A call counts tabs in and out; only `write` writes, so that a change that cancels
-- itself out costs nothing and is announced to nobody. Until then a record holds, in
-- `changes`, for each user that the call has looked at:
--
--   user    JSON text of the user's id
--   before  the entry's text as Redis has it; false when there is none
--   entry   the entry as it is to be; nil when there is none
--   reason  why a tab went: left, expired or evicted
local timeline_entries = require("lib.timeline_entries")

local viewer_entries = {}

-- app/presence/codec.py has the same.
local PLACES_PER_SECOND = 10000

-- [name, count, name, count, ...] from `first` to `last`, as name -> count.
local function decode_counts(packed, first, last)
  local counts = {}
  for i = first, last, 2 do
    counts[packed[i]] = packed[i + 1]
  end
  return counts
end

-- Sorted, so that equal entries have equal texts.
local function append_counts(packed, counts)
  local names = {}
  for name in pairs(counts) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    packed[#packed + 1] = name
    packed[#packed + 1] = counts[name]
  end
  return packed
end

local function change_count(counts, name, by)
  local count = (counts[name] or 0) + by
  counts[name] = count > 0 and count or nil
end

-- The count of the field without a name: how many tabs are away, and the profile if any.
local function decode_unnamed(count)
  if type(count) == "string" then
    local away, profile = string.match(count, "^(%d+) (.+)$")
    return tonumber(away) or 0, profile
  end
  return count
end

local function decode(text)
  local packed = cjson.decode(text)
  local entry = {
    name = packed[1],
    arrival = packed[2],
    tabs = packed[3],
    editing = packed[4],
    dirty = packed[5],
    away = 0,
    dirty_fields = {},
  }
  local first, last = 6, #packed
  if packed[6] == "" then
    entry.away, entry.profile = decode_unnamed(packed[7])
    first = 8
  end
  if type(packed[last]) == "table" then
    entry.dirty_fields = decode_counts(packed[last], 1, #packed[last])
    last = last - 1
  end
  entry.fields = decode_counts(packed, first, last)
  return entry
end

-- The array; its JSON is the stored text.
local function pack(entry)
  local packed = { entry.name, entry.arrival, entry.tabs, entry.editing, entry.dirty }
  local away = math.min(entry.away, entry.tabs)
  if entry.profile then
    packed[6], packed[7] = "", string.format("%d %s", away, entry.profile)
  elseif away > 0 then
    packed[6], packed[7] = "", away
  end
  append_counts(packed, entry.fields)
  if next(entry.dirty_fields) then
    packed[#packed + 1] = append_counts({}, entry.dirty_fields)
  end
  return packed
end


-- What a list of viewers shows of an entry, as text to compare: whether the user
-- edits, not in how many tabs.
local function visible_part(packed)
  local first, away, profile = 6, 0, nil
  if packed[6] == "" then
    first, away, profile = 8, decode_unnamed(packed[7])
  end
  local is_away = away >= packed[3]
  local parts = { packed[1], packed[3], packed[4] > 0, packed[5] > 0, is_away, profile or false }
  for i = first, #packed, 2 do
    if type(packed[i]) == "table" then
      parts[#parts + 1] = 0 -- no field has this name
      for j = 1, #packed[i], 2 do
        parts[#parts + 1] = packed[i][j]
      end
    else
      parts[#parts + 1] = packed[i]
    end
  end
  return cjson.encode(parts)
end

-- Which fields several of the user's tabs have unsaved. No list shows it, but the forecast of
-- each of these tabs does.
local function fields_of_several_tabs(packed)
  local names, counts = {}, packed[#packed]
  if type(counts) == "table" then
    for i = 1, #counts, 2 do
      if counts[i + 1] > 1 then
        names[#names + 1] = counts[i]
      end
    end
  end
  return cjson.encode(names)
end

local function change_of(record, user)
  local change = record.changes[user]
  if not change then
    local before = redis.call("HGET", record.viewers, user)
    change = { user = user, before = before, entry = before and decode(before) or nil }
    record.changes[user] = change
    record.changed_users[#record.changed_users + 1] = user
  end
  return change
end

-- What some tabs of a user say together: how many there are, edit, are dirty and are
-- away, and how many are in each field and have it unsaved. Part of an entry, or on its own.
function viewer_entries.new_counts()
  return { tabs = 0, editing = 0, dirty = 0, away = 0, fields = {}, dirty_fields = {} }
end

-- Count a tab of this state in (`by` is 1) or out (-1).
function viewer_entries.count(counts, state, by)
  counts.tabs = counts.tabs + by
  counts.editing = counts.editing + (state.is_editing and by or 0)
  counts.dirty = counts.dirty + (state.is_dirty and by or 0)
  counts.away = math.max(0, counts.away + (state.is_away and by or 0))
  if state.active_field then
    change_count(counts.fields, state.active_field, by)
  end
  for _, name in ipairs(state.dirty_fields) do
    change_count(counts.dirty_fields, name, by)
  end
end

-- How many tabs the user's entry counts.
function viewer_entries.count_tabs(record, user)
  local entry = change_of(record, user).entry
  return entry and entry.tabs or 0
end

-- Whether none of the user's tabs is active, or none is there.
function viewer_entries.is_away(record, user)
  local entry = change_of(record, user).entry
  return not entry or entry.away >= entry.tabs
end

-- The counts of a user's entry as it is stored, for the caller to change.
function viewer_entries.copy_counts(record, user)
  local change = change_of(record, user)
  return change.before and decode(change.before) or viewer_entries.new_counts()
end

local function next_arrival(record)
  local opened_ms = record.opened_ms -- nil where it is not read yet, or not stored
  if record.meta and not record.saves then
    opened_ms = tonumber(redis.call("HGET", record.viewers, "#opened") or nil)
  end
  -- A clock that was set back must not put anybody before those who came earlier: the
  -- time of a version never steps back.
  local version_us = tonumber(string.match(record.version, "^%d+")) or 0
  local now_ms = math.max(record.now_us, version_us) / 1000
  local seconds = math.floor((now_ms - (opened_ms or record.remembered_since_ms)) / 1000)
  record.arrivals = record.arrivals + 1
  return math.max(0, seconds) * PLACES_PER_SECOND + record.arrivals
end

-- The part of an arrival that orders those who came within a second.
function viewer_entries.place_of(arrival)
  return arrival % PLACES_PER_SECOND
end

-- Count a tab of this state in. `is_new_name`: the tab brings the user's newest
-- name. Otherwise its name is only taken where the entry has none, so that a tab
-- with an old name does not bring it back. `arrival` is the user's place where the
-- user has no entry; nil: after all others.
function viewer_entries.add_tab(record, state, is_new_name, arrival)
  local change = change_of(record, state.user)
  local entry = change.entry
  if not entry then
    entry = viewer_entries.new_counts()
    entry.arrival = arrival or next_arrival(record)
    change.entry = entry
  end
  if is_new_name or not entry.name then
    entry.name = state.name
  end
  viewer_entries.count(entry, state, 1)
  change.is_unlogged = state.is_unlogged
end

-- Let a user who has an entry have this profile, nil for none. `is_new`: their tab brings
-- another one than it had. Otherwise it is only taken where there is none, so that a tab
-- with an old one does not bring it back.
function viewer_entries.set_profile(record, user, profile, is_new)
  local entry = change_of(record, user).entry
  if is_new or not entry.profile then
    entry.profile = profile
  end
end

-- The profiles of all users who have one: user -> JSON text.
function viewer_entries.profiles(viewers)
  local profiles = {}
  local stored = redis.call("HGETALL", viewers)
  for i = 1, #stored, 2 do
    if string.sub(stored[i], 1, 1) ~= "#" and string.find(stored[i + 1], '"","', 1, true) then
      profiles[stored[i]] = decode(stored[i + 1]).profile
    end
  end
  return profiles
end

local function is_counted(entry, state)
  if not entry or entry.tabs == 0 or (state.active_field and not entry.fields[state.active_field]) then
    return false
  end
  for _, name in ipairs(state.dirty_fields) do
    if not entry.dirty_fields[name] then
      return false
    end
  end
  return true
end

-- Count a tab of this state out. Where the entry does not hold what the state says,
-- another system has written one of the two: the record is then to be repaired.
function viewer_entries.subtract_tab(record, state, reason)
  local change = change_of(record, state.user)
  local entry = change.entry
  if not is_counted(entry, state) then
    record.is_damaged = true
    return
  end
  viewer_entries.count(entry, state, -1)
  change.reason, change.is_unlogged = reason, state.is_unlogged
end

-- Write the entries that changed. Returns what a list of viewers, or a forecast, shows
-- differently, as messages have it: {"join" or "update", user, array} or {"leave", user, reason}.
function viewer_entries.write(record)
  local events, logged, written = {}, record.timeline_entries, record.written_entries
  for _, user in ipairs(record.changed_users) do
    local change = record.changes[user]
    local before = change.before and cjson.decode(change.before)
    if change.entry and change.entry.tabs > 0 then
      local after = pack(change.entry)
      local text = cjson.encode(after)
      if text ~= change.before then
        redis.call("HSET", record.viewers, user, text)
        written[#written + 1] = { user, before, after }
      end
      local kind = before and "update" or "join"
      if not before or visible_part(before) ~= visible_part(after) then
        events[#events + 1] = { kind, user, after }
        if not change.is_unlogged then
          timeline_entries.append_viewer(logged, kind, user, before, after)
        end
      elseif fields_of_several_tabs(before) ~= fields_of_several_tabs(after) then
        events[#events + 1] = { kind, user, after }
      end
    elseif before then
      redis.call("HDEL", record.viewers, user)
      written[#written + 1] = { user, before }
      events[#events + 1] = { "leave", user, change.reason }
      if not change.is_unlogged then
        logged[#logged + 1] = { "leave", user, before[1], change.reason }
      end
    end
  end
  return events
end

return viewer_entries
