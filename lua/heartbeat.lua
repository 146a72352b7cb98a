-- heartbeat - Renew a tab's lease and record what changed.
--
-- KEYS[1]   tabs              hash    tab_id -> state
-- KEYS[2]   seen              zset    tab_id -> end of lease, ms
-- KEYS[3]   viewers           hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]   order             zset    user -> arrival; long lists only
-- KEYS[5]   timeline          stream  what happened
-- KEYS[6]   unsaved           zset    index of unsaved fields; long lists only
-- KEYS[7]   calls             string  the user's calls in this window
-- KEYS[8]   left              hash    goodbyes, see lib.tombstones
-- ARGV[1]   tab_id            string
-- ARGV[2]   state             string  JSON array, see lib.tab_state
-- ARGV[3]   lease_ms          digits  > 0
-- ARGV[4]   known_version     string  list viewers if it is outdated; "" never, "?" always
-- ARGV[5]   calls_limit       digits  calls a window may hold; 0 counts none
-- ARGV[6]   window_ms         digits  > 0 where calls are counted
-- ARGV[7]   default_lease_ms  digits  longest lease of a record that has no meta
-- ARGV[8]   limit             digits  viewers to list
-- ARGV[9]   nonce             string  random; part of a new version
-- ARGV[10]  timeline_ms       digits  how long the timeline is kept; 0 writes none
-- ARGV[11]  may_join          digits  0: refuse a tab that is not live
-- ARGV[12]  stamp             string  when the call was made, see lib.tombstones
-- ARGV[13]  profile           string  JSON object of what else is shown of the user; "" for nothing
--
-- Returns  version, short for {"OK", version, 0, 0}
--          | {"OK", version, timeline_bytes, has_joined}; so many were added to the timeline;
--            has_joined 1: the user was no viewer before, as far as is known
--          | {"OK", version, timeline_bytes, has_joined, total, opened_ms, remembered_since_ms,
--            saves, claims, waiting, user, entry, ...}; of a list that is cut, for a tab with unsaved
--            fields, then "", holders, user, entry, ... as lib.unsaved_fields appends them
--          | {"TRIMMED", version, left_out, and as after OK's version}, left_out as in lib.viewer_budget
--          | {"TAB_TAKEN"} | {"TOO_MANY_TABS"} | {"NO_ROOM"} | {"THROTTLED", retry_after_ms}
--          | {"TAB_LEFT"}, the tab has said goodbye since: nothing was changed
--          | {"SWEEP_FIRST"}, see roster.sweep_and_repair: to be called again
--          | {"INDEX_FIRST"}, see unsaved_fields.prepare: the same
-- Writes   tabs, seen, viewers, order, timeline, unsaved, calls
-- Cost     O(log tabs) when nothing changed, with four calls to Redis; O(limit) more for a list
local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved, calls = KEYS[6], KEYS[7]
local tab_id, state, lease_ms = ARGV[1], ARGV[2], ARGV[3]
local known_version, calls_limit, window_ms = ARGV[4], ARGV[5], ARGV[6]

-- Count the call, and refuse it when the limit is exceeded. Only the first call of a
-- window (which starts its expiry) and a refused one need the library.
--
-- From here to the end of the fast path, `require` and new tables are avoided where
-- possible: each takes as much time as a call to Redis. Arguments that only the slow
-- path needs are unpacked there.
local call_count = calls_limit ~= "0" and redis.call("INCR", calls) or 0
if call_count == 1 or call_count > tonumber(calls_limit) then
  local quota = require("lib.quota")
  local retry_after_ms = quota.check(calls, call_count, calls_limit, window_ms)
  if retry_after_ms then
    return { "THROTTLED", retry_after_ms }
  end
end

-- The fast path. Nearly every heartbeat only says "still here", and must cost the
-- same whether 10 or 10,000 people have the record open. It only renews the tab's
-- lease, provided that
--   * the record has a meta, "version max_lease_ms no_expiry_before_s ...", and the
--     tab's stored state is the one that was sent;
--   * the lease is as long as the record's longest one;
--   * the tab has a lease (XX), and the new one ends later (GT), which is not so after
--     the clock was set back;
--   * no lease of the record has ended, and no claim is to be passed on. Neither is before
--     no_expiry_before_s, so this is checked only after that time; and before the lease is
--     renewed, since the slow path may refuse the call.
local version, max_lease_ms, no_expiry_before_s
local meta = redis.call("HGET", viewers, "#")
if meta and redis.call("HGET", tabs, tab_id) == state then
  version, max_lease_ms, no_expiry_before_s = string.match(meta, "^(%S+) (%d+) (%d+)")
end
local time = redis.call("TIME")
local now_us = time[1] * 1000000 + time[2] -- lib.clock.now_us, inlined
local now_ms = math.floor(now_us / 1000)
-- As text, because Redis takes twice as long to convert a Lua number itself.
local lease_end = string.format("%d", now_ms + lease_ms)
local is_fast_path = lease_ms == max_lease_ms
local is_check_due = is_fast_path and now_us >= no_expiry_before_s * 1000000
if is_check_due then
  is_fast_path = redis.call("ZCOUNT", seen, "-inf", string.format("%d", now_ms)) == 0
    and redis.call("HEXISTS", viewers, "#waiting") == 0
end
is_fast_path = is_fast_path and redis.call("ZADD", seen, "XX", "GT", "CH", lease_end, tab_id) == 1

if is_fast_path and is_check_due then
  -- Every lease was renewed in time, and nobody waits for a claim whose holder may be away
  -- for too long. The next check is due when the first lease ends.
  local expiry = require("lib.expiry")
  no_expiry_before_s = expiry.no_expiry_before_s(seen)
  redis.call("HSET", viewers, "#", expiry.replace_in_meta(meta, no_expiry_before_s))
  expiry.extend_keys({ tabs, seen, viewers, order, unsaved }, no_expiry_before_s, max_lease_ms)
end
if is_fast_path and (known_version == "" or known_version == version) then
  return version
end

-- The slow path: a new tab or state, an expired tab, or a list to return.
local left = KEYS[8]
local default_lease_ms, limit, nonce, timeline_ms = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local may_join, stamp, profile = ARGV[11], ARGV[12], ARGV[13]
local viewer_list = require("lib.viewer_list")

local MAX_LIST_BYTES = 600000 -- of the viewers; saves, claims and the forecast come on top

local sent = cjson.decode(state)
local user = sent[1]
local left_out
local timeline_bytes, has_joined = 0, 0
if not is_fast_path then
  local roster = require("lib.roster")
  local keys = { tabs, seen, viewers, order, timeline, unsaved }
  local record = roster.open(keys, tonumber(default_lease_ms), tonumber(timeline_ms), now_us)
  local stored_state, is_live, stored_text = roster.find(record, tab_id)
  if is_live and stored_state.user ~= user then
    return { "TAB_TAKEN" }
  end
  if not is_live and may_join == "0" then
    return { "NO_ROOM" }
  end
  -- Also of a live tab: it may have come back since, and this is what it did before.
  if redis.call("EXISTS", left) == 1 then
    local tombstones = require("lib.tombstones")
    if tombstones.has_left_since(left, tab_id, user, stamp) then
      return { "TAB_LEFT" }
    end
  end
  local is_put
  record.put_profile = profile ~= "" and profile or nil
  is_put, left_out =
    roster.put_tab(record, tab_id, state, lease_end, stored_state, is_live, stored_text)
  if not is_put then
    if roster.may_count_stale_tabs(record) then
      return { "SWEEP_FIRST" }
    end
    return { "TOO_MANY_TABS" }
  end
  roster.sweep_and_repair(record)
  roster.commit(record, nonce)
  if record.has_unswept_tabs and known_version ~= "" then
    return { "SWEEP_FIRST" }
  end
  has_joined = record.has_joined and 1 or 0
  timeline_bytes = record.timeline_bytes
  version = record.version
end

local reply = { "OK", version, timeline_bytes, has_joined }
if left_out then
  reply = { "TRIMMED", version, left_out, timeline_bytes, has_joined }
end
if known_version ~= "" and known_version ~= version then
  local page = { after = 0, limit = tonumber(limit), max_bytes = MAX_LIST_BYTES }
  if viewer_list.append(viewers, order, page, reply) then
    -- Their own entry, which may not be on this page; it may be there twice.
    reply[#reply + 1], reply[#reply + 2] = user, redis.call("HGET", viewers, user)
    local dirty_fields = sent[5] and sent[5].dirty_fields
    if dirty_fields then
      -- Who has the same unsaved need not be on this page either.
      local unsaved_fields = require("lib.unsaved_fields")
      if not unsaved_fields.prepare(viewers, order, unsaved, version) then
        return { "INDEX_FIRST" }
      end
      local own = { user = user }
      reply[#reply + 1] = ""
      unsaved_fields.append(reply, viewers, order, unsaved, version, dirty_fields, own)
    end
  end
end
return reply
