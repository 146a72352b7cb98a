-- lib.unsaved_index - The index of who has which field unsaved, in a record of many viewers.
--
-- The sorted set `unsaved`, whose scores are all 0:
--
--   "field\nuser"  for each field that a user has unsaved
--   "\nversion"    the first member: the version of the record whose index this is; followed by
--                  "\narrival" while only those who arrived by then are in it for sure
--
-- It is made when it is first asked for (lib.unsaved_fields), part by part where there is much to
-- put into it, and from then on changed when an entry is, never by a heartbeat that changes
-- nothing. Whoever does not know it (an earlier release) leaves another version behind: then it
-- is made anew. It can always be made again from the viewers hash.
local batches = require("lib.batches")
local viewer_list = require("lib.viewer_list")

local unsaved_index = {}

local MARK = "\n" -- before a version, and between field and user: in no name of a field
unsaved_index.MARK = MARK

local MAX_BUILT_BYTES = 60000 -- of entries that are put into the index in one call, in some ms
local ENTRY_OVERHEAD_BYTES = 40 -- that to look at an entry takes, as if it were so much longer

-- The names of the fields that an entry has unsaved; `packed` is the decoded array.
function unsaved_index.dirty_names(packed)
  local counts, names = packed and packed[#packed], {}
  if type(counts) == "table" then
    for i = 1, #counts, 2 do
      if counts[i] ~= "" and not string.find(counts[i], MARK, 1, true) then
        names[counts[i]] = counts[i + 1]
      end
    end
  end
  return names
end

-- Whether an entry (JSON text) has any, without decoding it: only their list ends it so.
function unsaved_index.has_dirty_names(entry)
  return string.sub(entry, -2) == "]]"
end

-- The first member, the version in it, and the arrival behind that: "" where all are in.
local function read_mark(unsaved)
  local mark = redis.call("ZRANGE", unsaved, 0, 0)[1]
  if mark then
    return mark, string.match(mark, "^\n([^\n]*)\n?(.*)$")
  end
end

-- Add members of those who arrived after this place to `members`, until it is enough for one
-- call. Returns the place of the last one; nil when there are no more.
local function collect_members(viewers, order, after, members)
  local bytes = 0
  while true do
    local rows = viewer_list.read_after(viewers, order, after)
    if #rows == 0 then
      return nil
    end
    for _, row in ipairs(rows) do
      if unsaved_index.has_dirty_names(row.entry) then
        for name in pairs(unsaved_index.dirty_names(cjson.decode(row.entry))) do
          members[#members + 1], members[#members + 2] = 0, name .. MARK .. row.user
        end
      end
      after = row.arrival
      bytes = bytes + #row.entry + ENTRY_OVERHEAD_BYTES
      if bytes > MAX_BUILT_BYTES then
        return after
      end
    end
  end
end

-- Make the index of this version of the record, or a part of it where there is much. Whoever
-- comes next goes on from there. Returns whether it is complete.
function unsaved_index.build(viewers, order, unsaved, version)
  local mark, marked_version, built_until = read_mark(unsaved)
  if marked_version == version and built_until == "" then
    return true
  end
  if mark and marked_version ~= version then
    redis.call("DEL", unsaved)
    mark, built_until = nil, nil
  end
  local members = { 0, "" }
  local after = collect_members(viewers, order, tonumber(built_until) or 0, members)
  members[2] = MARK .. version .. (after and string.format("%s%.0f", MARK, after) or "")
  batches.each(members, function(_, ...)
    redis.call("ZADD", unsaved, ...)
  end)
  if mark then
    redis.call("ZREM", unsaved, mark)
  end
  redis.call("PEXPIRE", unsaved, redis.call("PTTL", viewers))
  return not after
end

-- Bring an existing index from the version before to the record's own. What is still to
-- be put into it stays so.
function unsaved_index.update(record, previous_version)
  local mark, marked_version, built_until = read_mark(record.unsaved)
  if not mark then
    return
  end
  if marked_version ~= previous_version then
    redis.call("DEL", record.unsaved)
    return
  end
  local new_mark = MARK .. record.version .. (built_until == "" and "" or MARK .. built_until)
  redis.call("ZADD", record.unsaved, 0, new_mark) -- first: an empty key would lose its end
  redis.call("ZREM", record.unsaved, mark)
  for _, written in ipairs(record.written_entries) do
    local user = written[1]
    local before, after = unsaved_index.dirty_names(written[2]), unsaved_index.dirty_names(written[3])
    for name in pairs(before) do
      if not after[name] then
        redis.call("ZREM", record.unsaved, name .. MARK .. user)
      end
    end
    for name in pairs(after) do
      if not before[name] then
        redis.call("ZADD", record.unsaved, 0, name .. MARK .. user)
      end
    end
  end
end

return unsaved_index
