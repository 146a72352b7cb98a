-- lib.timeline - What happened to a record, in order: a stream of at most 1,000 entries.
--
-- An entry has one field, "e", a flat JSON array (every bracket costs bytes):
--
--   ["join" or "update", user, name, tabs, is_editing, is_dirty, number of
--    active fields, active field, ..., dirty field, ...]
--   ["leave", user, name, reason, 1?], where nobody is left
--   ["saved", user, name, tab_id, lock_version, field, ...]
--   ["claimed", user, name, tab_id, field, from_user?, from_name?]
--   ["released", user, name, tab_id, field]
--   ["reset"], where nobody is known any more; joins of all who are there follow
--
-- The ids are Redis's own: milliseconds, which never run backwards.
local timeline = { MOST_ENTRIES = 1000 }

local LOOK_BACK = 50 -- entries, for a save
local AT_ONCE = { 10, 100 } -- entries to read, first and then

local function append_names(entry, pairs_of, first, last)
  for i = first, last, 2 do
    entry[#entry + 1] = pairs_of[i]
  end
end

-- What a seat shows, as a join or an update.
function timeline.seat_entry(kind, user, packed)
  local last = #packed
  local dirty_fields = type(packed[last]) == "table" and packed[last] or nil
  if dirty_fields then
    last = last - 1
  end
  local entry = {
    kind,
    user,
    packed[1],
    packed[3],
    packed[4] > 0 and 1 or 0,
    packed[5] > 0 and 1 or 0,
    (last - 5) / 2,
  }
  append_names(entry, packed, 6, last)
  if dirty_fields then
    append_names(entry, dirty_fields, 1, #dirty_fields)
  end
  return entry
end

-- Whether one of the last entries tells of this save. The viewers remember it
-- only while there are any, and the call may be sent again after that.
function timeline.has_saved(room, lock_version)
  if room.timeline_ms <= 0 then
    return false
  end
  for _, item in ipairs(redis.call("XREVRANGE", room.timeline, "+", "-", "COUNT", LOOK_BACK)) do
    local entry = cjson.decode(item[2][2])
    if entry[1] == "saved" and entry[5] == lock_version then
      return true
    end
  end
  return false
end

-- Whether somebody was there after this entry; nil when it does not say.
local function is_somebody_left(entry)
  if entry[1] == "join" or entry[1] == "update" then
    return true
  elseif entry[1] == "leave" then
    return entry[5] == nil
  elseif entry[1] == "reset" then
    return false
  end
end

-- Whether the timeline ends with somebody there. When Redis has removed the keys
-- of a record by itself, nobody has told that its viewers are gone. Costs O(saves
-- and claims since somebody came or went).
function timeline.is_open(room)
  if room.timeline_ms <= 0 then
    return false
  end
  local last, count = "+", AT_ONCE[1]
  while true do
    local items = redis.call("XREVRANGE", room.timeline, last, "-", "COUNT", count)
    for _, item in ipairs(items) do
      local is_left = is_somebody_left(cjson.decode(item[2][2]))
      if is_left ~= nil then
        return is_left
      end
    end
    if #items < count then
      return false
    end
    last, count = "(" .. items[#items][1], AT_ONCE[2]
  end
end

-- Write the room's entries. Costs O(entries), nothing when there are none.
-- What is too old is no longer shown; it is trimmed when somebody comes or
-- goes, because to look for it takes as long as to write an entry.
function timeline.write(room)
  if room.timeline_ms <= 0 or #room.entries == 0 then
    return
  end
  local is_to_trim = false
  for _, entry in ipairs(room.entries) do
    redis.call("XADD", room.timeline, "MAXLEN", timeline.MOST_ENTRIES, "*", "e", cjson.encode(entry))
    is_to_trim = is_to_trim or entry[1] == "join" or entry[1] == "leave"
  end
  if is_to_trim then
    local oldest = string.format("%d", math.max(0, room.now_ms - room.timeline_ms))
    redis.call("XTRIM", room.timeline, "MINID", oldest)
  end
  redis.call("PEXPIRE", room.timeline, string.format("%d", room.timeline_ms))
end

return timeline
