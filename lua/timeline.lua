-- timeline - Sweep a record and read what happened to it.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- ARGV[1]  since        string  id of the last entry that is known; "" for none
-- ARGV[2]  limit        int     entries to read
-- ARGV[3]  lease_ms     int     > 0
-- ARGV[4]  nonce        string  random; part of a new version
-- ARGV[5]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", 0 | 1, earlier, id, entry, ...}; 1: more than has room here; the first
--          `earlier` entries are not of the page; entries as in lib.timeline_entries
--          | {"SWEEP_FIRST"}, see roster.sweep_and_repair
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(entries up to the page's end), at most 1 MB, and O(stale tabs) to sweep them
local timeline_entries = require("lib.timeline_entries")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local since, limit = ARGV[1], tonumber(ARGV[2])
local lease_ms, nonce, timeline_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local CHUNK_ENTRIES = 20 -- to read at once
local MAX_PAGE_BYTES, MAX_EARLIER_BYTES = 786432, 262144

-- At most `count` entries from `first` to `last`, in a few bytes at a time; and whether
-- there are more, for which `max_bytes` has no room.
local function read(first, last, count, max_bytes)
  local found, bytes = {}, 0
  while #found < count do
    local chunk = math.min(CHUNK_ENTRIES, count - #found)
    local items = redis.call("XRANGE", timeline, first, last, "COUNT", chunk)
    for _, item in ipairs(items) do
      bytes = bytes + #item[2][2]
      if bytes > max_bytes and #found > 0 then
        return found, true
      end
      found[#found + 1] = item
    end
    if #items < chunk then
      break
    end
    first = "(" .. items[#items][1]
  end
  return found, false
end

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local record = roster.sweep(keys, lease_ms, timeline_ms, nonce)
if record.has_unswept_tabs then
  return { "SWEEP_FIRST" }
end
if
  not record.meta
  and redis.call("EXISTS", seen) == 0
  and timeline_entries.ends_with_viewers(record)
then
  -- Redis has removed the record by itself; nobody who was there still is.
  timeline_entries.write(record, { { "reset" } })
end

-- What is too old is trimmed when something is written, which may be long ago.
local first = string.format("%d", math.max(0, record.now_ms - timeline_ms))
local since_ms = string.match(since, "^%d+")
if timeline_ms <= 0 then
  return { "OK", 0, 0 }
end
local earlier = {}
if since_ms and tonumber(since_ms) >= tonumber(first) then
  earlier = read(first, since, 1000, MAX_EARLIER_BYTES)
  first = "(" .. since
end
local page, is_cut = read(first, "+", limit, MAX_PAGE_BYTES)
local reply = { "OK", is_cut and 1 or 0, #earlier }
for _, items in ipairs({ earlier, page }) do
  for _, item in ipairs(items) do
    reply[#reply + 1], reply[#reply + 2] = item[1], item[2][2]
  end
end
return reply
