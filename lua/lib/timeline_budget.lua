-- lib.timeline_budget - What of a timeline is too long for an entry, or too much for the stream.
--
-- Apart from lib.timeline_entries, since few calls need it.
local timeline_budget = {}

local MAX_BYTES = 262144 -- of a stream
local TRIM_BYTES = 4096 -- it is looked at once in so many
local OVERHEAD_BYTES = 32 -- of an entry: its id and "b"
local MAX_ENTRY_BYTES = 512
local MAX_LONG_NAME_BYTES = 64 -- of a user's name, in an entry that is too long with it
local CHUNK_ENTRIES = 20 -- to read at once

-- Cut at a character.
local function cut_name(name)
  local last = MAX_LONG_NAME_BYTES
  if #name <= last then
    return name
  end
  while last > 0 and string.byte(name, last + 1) >= 0x80 and string.byte(name, last + 1) < 0xC0 do
    last = last - 1
  end
  return string.sub(name, 1, last)
end

-- The fields of an entry: the active ones, and the dirty ones, each as name -> true.
local function fields_of(packed)
  local active, dirty, last = {}, {}, packed and #packed or 0
  if type(packed and packed[last]) == "table" then
    for i = 1, #packed[last], 2 do
      dirty[packed[last][i]] = true
    end
    last = last - 1
  end
  for i = packed and packed[6] == "" and 8 or 6, last, 2 do
    active[packed[i]] = true
  end
  return active, dirty
end

-- Append what is in `names` and not in `others` to a list of {group, name}, in order.
local function append_missing(differences, group, names, others)
  local missing = {}
  for name in pairs(names) do
    if not others[name] then
      missing[#missing + 1] = name
    end
  end
  table.sort(missing)
  for _, name in ipairs(missing) do
    differences[#differences + 1] = { group, name }
  end
end

-- What differs between two viewer entries, in as many entries as it needs; `is_editing` as
-- they have it.
function timeline_budget.append_changed(entries, user, before, after, is_editing)
  local differences = {}
  local active_before, dirty_before = fields_of(before)
  local active, dirty = fields_of(after)
  append_missing(differences, 7, active, active_before)
  append_missing(differences, 8, active_before, active)
  append_missing(differences, 9, dirty, dirty_before)
  append_missing(differences, 10, dirty_before, dirty)
  local next_difference = 1
  repeat
    local counts = { after[3], is_editing, after[5] > 0 and 1 or 0, 0, 0, 0 }
    local entry = { "changed", user, cut_name(after[1]), unpack(counts) }
    local bytes = #cjson.encode(entry) + 6 -- for counts of three digits
    while differences[next_difference] do
      local group, name = unpack(differences[next_difference])
      bytes = bytes + #cjson.encode(name) + 1
      if bytes > MAX_ENTRY_BYTES and #entry > 9 then
        break
      end
      entry[#entry + 1] = name
      if group < 10 then
        entry[group] = entry[group] + 1
      end
      next_difference = next_difference + 1
    end
    entries[#entries + 1] = entry
  until next_difference > #differences
end

-- Leave out of a save's entry the fields that have no room, and say how many.
local function cut_fields(entry)
  local fields, bytes = {}, 16
  for i = 6, #entry do
    fields[i - 5], entry[i] = entry[i], nil
  end
  bytes = bytes + #cjson.encode(entry)
  for i, field in ipairs(fields) do
    bytes = bytes + #cjson.encode(field) + 1
    if bytes > MAX_ENTRY_BYTES then
      entry[#entry + 1] = #fields - i + 1
      return
    end
    entry[#entry + 1] = field
  end
end

-- Leave out of an entry what has no room.
function timeline_budget.shorten(entry)
  entry[3] = cut_name(entry[3])
  if entry[1] == "saved" then
    cut_fields(entry)
  elseif entry[1] == "claimed" and entry[7] then
    entry[7] = cut_name(entry[7])
  end
  return entry
end

-- Where the stream has to begin so that its entries have at most `max_bytes`; nil where
-- they have. Counts back from the end: some entries say no bytes, which a release before
-- this one has written.
local function first_id_by_length(timeline, max_bytes)
  local last, bytes, first_id = "+", 0, nil
  while true do
    local items = redis.call("XREVRANGE", timeline, last, "-", "COUNT", CHUNK_ENTRIES)
    for _, item in ipairs(items) do
      bytes = bytes + #item[2][2] + OVERHEAD_BYTES
      if bytes > max_bytes then
        return first_id or "+"
      end
      first_id = item[1]
    end
    if #items < CHUNK_ENTRIES then
      return nil
    end
    last = "(" .. items[#items][1]
  end
end

-- The same from what the entries say; `total` is what the last one says.
local function first_id_by_total(timeline, total, max_bytes)
  local first = "-"
  while true do
    local items = redis.call("XRANGE", timeline, first, "+", "COUNT", CHUNK_ENTRIES)
    for _, item in ipairs(items) do
      local item_total = tonumber(item[2][4])
      if not item_total or item_total > total then
        return first_id_by_length(timeline, max_bytes)
      elseif total - item_total + #item[2][2] + OVERHEAD_BYTES <= max_bytes then
        return item[1]
      end
    end
    first = "(" .. items[#items][1]
  end
end

-- Forget the oldest entries where there are too many bytes; `total` is what the last says.
function timeline_budget.trim(timeline, total)
  local head = redis.call("XRANGE", timeline, "-", "+", "COUNT", 1)[1]
  local head_total, first_id = head and tonumber(head[2][4]), nil
  if not head_total or head_total > total then
    first_id = first_id_by_length(timeline, MAX_BYTES - TRIM_BYTES)
  elseif total - head_total + #head[2][2] + OVERHEAD_BYTES > MAX_BYTES - TRIM_BYTES then
    first_id = first_id_by_total(timeline, total, MAX_BYTES - 2 * TRIM_BYTES)
  end
  if first_id then
    redis.call("XTRIM", timeline, "MINID", first_id)
  end
end

return timeline_budget
