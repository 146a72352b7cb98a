-- heartbeat - Renew a tab's lease and record what changed.
--
-- KEYS[1]   tabs           hash    tab_id -> state
-- KEYS[2]   seen           zset    tab_id -> end of lease, ms
-- KEYS[3]   viewers        hash    user -> seat, "#" -> version and counts
-- KEYS[4]   order          zset    user -> arrival, crowds only
-- KEYS[5]   timeline       stream  what happened
-- KEYS[6]   calls          string  calls of the user in this window
-- ARGV[1]   tab_id         string
-- ARGV[2]   state          string  JSON array, see lib.roster
-- ARGV[3]   lease_ms       digits  > 0
-- ARGV[4]   usual_ms       digits  the lease of other tabs, where the record has lost it
-- ARGV[5]   known_version  string  list viewers unless current; "" never, "?" always
-- ARGV[6]   limit          digits  viewers to list
-- ARGV[7]   nonce          string  random; part of a new version
-- ARGV[8]   timeline_ms    digits  how long the timeline is kept; 0 writes none
-- ARGV[9]   calls_limit    digits  calls a window may hold; 0 counts none
-- ARGV[10]  window_ms      digits  > 0 where calls are counted
--
-- Returns  {"OK", version}
--          | {"OK", version, total, opened_ms, saves, claims, user, seat, ...}
--          | {"TAB_TAKEN"} | {"THROTTLED", retry_after_ms}
-- Writes   tabs, seen, viewers, order, timeline, calls
-- Cost     O(log tabs) when nothing changed; O(limit) more for a list
local clock = require("lib.clock")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local calls = KEYS[6]
local tab_id, state, lease_ms, usual_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known_version, limit, nonce, timeline_ms = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local calls_limit, window_ms = ARGV[9], ARGV[10]

if calls_limit ~= "0" then
  local quota = require("lib.quota")
  local retry_after_ms = quota.take(calls, calls_limit, window_ms)
  if retry_after_ms then
    return { "THROTTLED", retry_after_ms }
  end
end

-- Nearly every heartbeat only says "still here": the same state, a lease that
-- grows, nobody stale. It must cost the same in a room of 10 and of 10,000.
-- A lease that does not grow means a missing lease or a clock set back: GT and
-- XX leave both to the roster, and so does a lease unlike the longest one.
local version, longest_ms
local meta = redis.call("HGET", viewers, "#")
if meta and redis.call("HGET", tabs, tab_id) == state then
  version, longest_ms = string.match(meta, "^(%S+) (%d+)")
end
-- Formatted here: Redis takes twice as long to write a Lua number.
local now_ms = clock.now()
local now = string.format("%d", now_ms)
local lease_end = string.format("%d", now_ms + lease_ms)
local is_steady = lease_ms == longest_ms
  and redis.call("ZADD", seen, "XX", "GT", "CH", lease_end, tab_id) == 1
  and redis.call("ZCOUNT", seen, "-inf", now) == 0

if is_steady then
  redis.call("PEXPIREAT", tabs, lease_end)
  redis.call("PEXPIREAT", seen, lease_end)
  redis.call("PEXPIREAT", viewers, string.format("%d", now_ms + lease_ms + clock.GRACE_MS))
  if known_version == "" or known_version == version then
    return { "OK", version }
  end
end

local roster = require("lib.roster")

if not is_steady then
  local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
  local room = roster.open(keys, clock, tonumber(usual_ms), tonumber(timeline_ms))
  local held, is_live = roster.find(room, tab_id)
  if is_live and held.user ~= cjson.decode(state)[1] then
    return { "TAB_TAKEN" }
  end
  roster.put(room, tab_id, state, lease_end)
  roster.settle(room)
  roster.commit(room, nonce)
  version = room.version
end

local reply = { "OK", version }
if known_version ~= "" and known_version ~= version then
  roster.list(viewers, order, tonumber(limit), reply)
end
return reply
