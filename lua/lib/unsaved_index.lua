-- lib.unsaved_index - The index of who has which field unsaved, in a record of many viewers.
--
-- The sorted set `unsaved`, whose scores are all 0:
--
--   "field\nuser"  for each field that a user has unsaved
--   "\nversion"    the first member: the version of the record whose index this is
--
-- It is made when it is first asked for (lib.unsaved_fields), and from then on changed when an
-- entry is, never by a heartbeat that changes nothing. Whoever does not know it (an earlier
-- release) leaves another version behind: then it is made anew. It can always be made again
-- from the viewers hash.
local unsaved_index = {}

local MARK = "\n" -- before a version, and between field and user: in no name of a field
unsaved_index.MARK = MARK

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

-- Bring an existing index from the version before to the record's own.
function unsaved_index.update(record, previous_version)
  local mark = redis.call("ZRANGE", record.unsaved, 0, 0)[1]
  if not mark then
    return
  end
  if mark ~= MARK .. previous_version then
    redis.call("DEL", record.unsaved)
    return
  end
  redis.call("ZADD", record.unsaved, 0, MARK .. record.version) -- first: an empty key would lose its end
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
