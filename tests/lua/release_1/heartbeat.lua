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
-- Returns  version, short for {"OK", version}
--          | {"OK", version, total, opened_ms, saves, claims, user, seat, ...}
--          | {"TAB_TAKEN"} | {"TOO_MANY_FIELDS"} | {"THROTTLED", retry_after_ms}
-- Writes   tabs, seen, viewers, order, timeline, calls
-- Cost     O(log tabs) when nothing changed, with four calls of Redis; O(limit) more for a list
local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local calls = KEYS[6]
local tab_id, state, lease_ms, usual_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known_version, limit, nonce, timeline_ms = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local calls_limit, window_ms = ARGV[9], ARGV[10]

-- The way of a heartbeat that changes nothing is short: no library is loaded and
-- no table made, since either takes Redis as long as a call.
local calls_made = calls_limit ~= "0" and redis.call("INCR", calls) or 0
if calls_made == 1 or calls_made > tonumber(calls_limit) then
  local quota = require("lib.quota")
  local retry_after_ms = quota.judge(calls, calls_made, calls_limit, window_ms)
  if retry_after_ms then
    return { "THROTTLED", retry_after_ms }
  end
end

-- Nearly every heartbeat only says "still here": the same state, a lease that
-- grows, nobody stale. It must cost the same in a room of 10 and of 10,000.
-- A lease that does not grow means a missing lease or a clock set back: GT and
-- XX leave both to the roster, and so does a lease unlike the longest one.
local version, longest_ms, calm_until_s
local meta = redis.call("HGET", viewers, "#")
if meta and redis.call("HGET", tabs, tab_id) == state then
  version, longest_ms, calm_until_s = string.match(meta, "^(%S+) (%d+) (%d+)")
end
local time = redis.call("TIME")
local now_us = time[1] * 1000000 + time[2] -- as lib.clock has it
local now_ms = math.floor(now_us / 1000)
-- Formatted here: Redis takes twice as long to write a Lua number.
local lease_end = string.format("%d", now_ms + lease_ms)
local is_steady = lease_ms == longest_ms
  and redis.call("ZADD", seen, "XX", "GT", "CH", lease_end, tab_id) == 1

if is_steady and now_us >= calm_until_s * 1000000 then
  is_steady = redis.call("ZCOUNT", seen, "-inf", string.format("%d", now_ms)) == 0
  if is_steady then
    local calm = require("lib.calm")
    calm_until_s = calm.until_s(seen)
    redis.call("HSET", viewers, "#", calm.rewrite(meta, calm_until_s))
    calm.outlive({ tabs, seen, viewers, order }, calm_until_s, longest_ms)
  end
end
if is_steady and (known_version == "" or known_version == version) then
  return version
end

local roster = require("lib.roster")

if not is_steady then
  local keys = { tabs = tabs, seen = seen, viewers = viewers, order = order, timeline = timeline }
  local room = roster.open(keys, now_us, tonumber(usual_ms), tonumber(timeline_ms))
  local held, is_live = roster.find(room, tab_id)
  if is_live and held.user ~= cjson.decode(state)[1] then
    return { "TAB_TAKEN" }
  end
  if not roster.put(room, tab_id, state, lease_end) then
    return { "TOO_MANY_FIELDS" }
  end
  roster.settle(room)
  roster.commit(room, nonce)
  version = room.version
end

local reply = { "OK", version }
if known_version ~= "" and known_version ~= version then
  roster.list(viewers, order, tonumber(limit), reply)
end
return reply
