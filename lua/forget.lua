-- forget - Erase a user from a record: their tabs, claims and timeline, and who saved.
--
-- KEYS[1]  tabs         hash    tab_id -> state
-- KEYS[2]  seen         zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers      hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order        zset    user -> arrival; long lists only
-- KEYS[5]  timeline     stream  what happened
-- KEYS[6]  unsaved      zset    index of unsaved fields; long lists only
-- KEYS[7]  left         hash    goodbyes, see lib.tombstones
-- ARGV[1]  user         string  JSON text of the user's id
-- ARGV[2]  agent_end    string  how the JSON texts of the ids of the user's agents end
-- ARGV[3]  lease_ms     int     > 0
-- ARGV[4]  nonce        string  random; part of a new version
-- ARGV[5]  timeline_ms  int     how long the timeline is kept; 0 writes none
--
-- Returns  {"OK", tabs, saves, claims, entries}; how many of each were erased or, of saves and of
--          claims taken over, told no longer who made them
-- Writes   tabs, seen, viewers, order, timeline, unsaved, left
-- Cost     O(tabs + entries)
local conflicts = require("lib.conflicts")
local tab_state = require("lib.tab_state")
local timeline_entries = require("lib.timeline_entries")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved, left = KEYS[6], KEYS[7]
local user, agent_end = ARGV[1], ARGV[2]
local lease_ms, nonce, timeline_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local ERASED_USER, ERASED_NAME = '""', "(erased)" -- no user has such an id
local AGENT_PREFIX = '"agent\\u0020' -- see lib.viewer_list

local function is_theirs(other)
  if other == user then
    return true
  end
  local is_agent = type(other) == "string" and string.sub(other, 1, #AGENT_PREFIX) == AGENT_PREFIX
  return is_agent and string.sub(other, -#agent_end) == agent_end
end

local record = roster.open({ tabs, seen, viewers, order, timeline, unsaved }, lease_ms, timeline_ms)
conflicts.load(record)

-- First what a full Redis accepts: removals.
local tab_count, save_count, claim_count, entry_count = 0, 0, 0, 0
for _, tab_id in ipairs(redis.call("HKEYS", tabs)) do
  local state = tab_state.decode(redis.call("HGET", tabs, tab_id))
  if state and is_theirs(state.user) then
    record.is_damaged = true -- counted anew: nobody is told of the user once more
    roster.remove_tab(record, tab_id, "left")
    tab_count = tab_count + 1
  end
end
for _, field in ipairs(redis.call("HKEYS", left)) do
  if is_theirs(string.match(field, "^%S+ (.*)$")) then
    redis.call("HDEL", left, field)
  end
end
for _, item in ipairs(redis.call("XRANGE", timeline, "-", "+")) do
  local is_entry, entry = pcall(cjson.decode, item[2][2])
  if is_entry and (is_theirs(entry[2]) or entry[1] == "claimed" and is_theirs(entry[6])) then
    redis.call("XDEL", timeline, item[1])
    entry_count = entry_count + 1
  end
end
if entry_count > 0 and redis.call("XLEN", timeline) == 0 then
  redis.call("DEL", timeline)
end

for _, row in ipairs(record.saves) do
  if is_theirs(row[2]) then
    row[2], row[3], row[4] = ERASED_USER, ERASED_NAME, ""
    save_count = save_count + 1
  end
end
local claims = {}
for _, row in ipairs(record.claims) do
  local is_own = is_theirs(row[3])
  if is_own or is_theirs(row[6]) then
    claim_count = claim_count + 1
  end
  if not is_own then
    if is_theirs(row[6]) then
      row[6], row[7] = ERASED_USER, ERASED_NAME
    end
    claims[#claims + 1] = row
  end
end
record.claims = claims
local waiting = {}
for _, row in ipairs(record.waiting) do
  if is_theirs(row[3]) then
    claim_count = claim_count + 1
  else
    waiting[#waiting + 1] = row
  end
end
record.waiting = waiting
record.is_damaged = record.is_damaged or save_count + claim_count > 0
roster.sweep_and_repair(record)
roster.commit(record, nonce)
if redis.call("EXISTS", seen) == 0 and entry_count > 0 and redis.call("XLEN", timeline) > 0 then
  if timeline_entries.ends_with_viewers(record) then
    timeline_entries.write(record, { { "reset" } }) -- the entry that said so is gone
  end
end
return { "OK", tab_count, save_count, claim_count, entry_count }
