-- lib.roster - The viewers of a record, kept consistent with its live tabs.
--
-- Six keys describe a record:
--
--   tabs      hash    tab_id -> state, see lib.tab_state
--   seen      zset    tab_id -> end of lease, ms
--   viewers   hash    user -> viewer entry, see lib.viewer_entries
--                     "#" -> the meta, "version max_lease_ms no_expiry_before_s
--                     tab_count arrivals remembered_since_ms", in 64 bytes at most,
--                     so that Redis keeps the hash compact
--                     "#opened" -> opened_ms, only where it is not the same as
--                     remembered_since_ms (earlier releases know the latter only)
--                     "#saves", "#claims", "#waiting", see lib.conflicts
--   order     zset    user -> arrival; an index, see lib.viewer_list
--   timeline  stream  see lib.timeline_entries
--   unsaved   zset    an index of unsaved fields, see lib.unsaved_index
--
-- Invariants, true whenever a script that sweeps the record returns:
--   1. tabs and seen have the same members. No lease in seen has ended, unless more
--      had than one call can sweep, and none ends later than the record's longest
--      lease would if it began now.
--   2. A user has an entry exactly when one of their tabs is live, and the
--      entry's counts are the sums over their live tabs.
--   3. Whenever the list of viewers changes, so does the version, to one that was
--      never used before; only an empty record always has the version "0".
--   4. tabs, seen, viewers, order and unsaved expire together, after the last lease and
--      at most one longest lease later. An empty record has none of them. (Its goodbyes
--      outlive it: they are in a key of their own, see lib.tombstones.)
--   5. A claim belongs to a live tab. Who waits for one is served as soon as it ends, see
--      lib.claims.
--   6. No lease ends before no_expiry_before_s, see lib.expiry; and no claim is to be
--      passed on before.
--
-- A script opens the record, changes it (or not), sweeps and repairs it, and
-- commits it. Tabs and leases are written at once, because a full Redis refuses a
-- script only at its first write. Everything that follows from them is written by
-- commit.
local expiry = require("lib.expiry")
local tab_state = require("lib.tab_state")
local timeline_entries = require("lib.timeline_entries")
local viewer_entries = require("lib.viewer_entries")
local viewer_list = require("lib.viewer_list")

local roster = {}

local EMPTY_VERSION = "0"
local MAX_SMALL_STATE_BYTES = 800 -- too few for 200 names: alone it is within lib.viewer_budget
local MAX_SWEPT_TABS = 150 -- in one call, so that none keeps Redis busy for over 10 ms
local MAX_CHANGES = 100 -- in one message; more are announced as a reset

-- Few calls need it, and to include it takes as long as three calls to Redis.
local function load_claims()
  local claims = require("lib.claims")
  return claims
end

-- The same.
local function load_viewer_budget()
  local viewer_budget = require("lib.viewer_budget")
  return viewer_budget
end

-- The record as Redis has it; writes nothing. `keys` are tabs, seen, viewers, order,
-- timeline and unsaved. `default_lease_ms` is the longest lease of a record without a meta;
-- `timeline_ms` is how long its timeline is kept, 0 for none. A caller that has read
-- the clock already passes `now_us`.
function roster.open(keys, default_lease_ms, timeline_ms, now_us)
  local tabs, seen, viewers, order, timeline, unsaved = unpack(keys)
  if not now_us then
    local clock = require("lib.clock")
    now_us = clock.now_us()
  end
  local meta, waiting_text = unpack(redis.call("HMGET", viewers, "#", "#waiting"))
  local version, max_lease_ms, no_expiry_before_s, meta_tab_count, arrivals, remembered_since_ms
  if meta then
    version, max_lease_ms, no_expiry_before_s, meta_tab_count, arrivals, remembered_since_ms =
      string.match(meta, "^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$")
  end
  no_expiry_before_s = tonumber(no_expiry_before_s) or 0
  local tab_count = redis.call("ZCARD", seen)
  return {
    -- Fixed while the script runs: keys, arguments and the time.
    tabs = tabs,
    seen = seen,
    viewers = viewers,
    order = order,
    timeline = timeline,
    unsaved = unsaved,
    default_lease_ms = default_lease_ms,
    timeline_ms = timeline_ms,
    now_us = now_us,
    now_ms = math.floor(now_us / 1000),

    -- The meta; `commit` writes it.
    meta = meta, -- its text as it was read; false when there is no viewers hash
    version = version or EMPTY_VERSION, -- changed by commit only
    max_lease_ms = tonumber(max_lease_ms) or default_lease_ms, -- changed by put_tab
    no_expiry_before_s = no_expiry_before_s, -- changed by commit only
    arrivals = tonumber(arrivals) or 0, -- the last place of arrival; changed by lib.viewer_entries
    remembered_since_ms = tonumber(remembered_since_ms) or math.floor(now_us / 1000), -- of all saves

    -- What is left to do. A flag is set by the code that finds the reason, and never cleared.
    -- is_damaged: tabs, seen and meta contradict each other, or a state can't be read.
    is_modified = false, -- something was written, or is to be: without it commit does nothing
    is_damaged = redis.call("HLEN", tabs) ~= tab_count or tab_count ~= (tonumber(meta_tab_count) or 0),
    is_recounted = false, -- the damage was repaired: streams need the whole list
    must_check_claims = false, -- a tab is gone, or has passed to another user
    must_extend_keys = now_us >= no_expiry_before_s * 1000000, -- that time has passed, or is too late
    has_unswept_tabs = false, -- more leases are over than this call could sweep
    must_tell_next_expiry = false, -- something may end earlier than streams know
    has_joined = false, -- put_tab's user was no viewer before, or nobody knows; set by commit
    has_queue = waiting_text and true or false, -- somebody waits for a claim; set by lib.claims, too
    are_claims_changed = false, -- or those who wait, or for how long; set by lib.claims

    -- What this call has changed.
    changes = {}, -- user -> change, see lib.viewer_entries
    changed_users = {}, -- in the order in which they were first touched
    written_entries = {}, -- {user, before, after}, decoded, as lib.viewer_entries wrote them
    put_tab_id = nil, -- the tab that put_tab has written
    put_user = nil, -- its user
    is_put_editing = nil, -- and whether it edits
    put_profile = nil, -- what is shown of that user besides the name, see lib.viewer_entries; set by commands
    saves = nil, -- rows as in lib.conflicts; nil until they are needed
    claims = nil, -- the same
    waiting = nil, -- the same, of those who wait for a claim
    ended_claims = {}, -- rows; changed by lib.claims
    pass_due_ms = nil, -- when the next claim is to be passed on, if its holder stays away; set by lib.claims
    opened_ms = nil, -- when the record was opened, where that is stored; the same
    saved_row = nil, -- the save that is new
    are_saves_replaced = false, -- others gave way to it: streams need the whole list
    timeline_bytes = 0, -- that were added to the timeline
    timeline_entries = {}, -- of viewers who came, changed and left, and of claims that ended
    action_entry = nil, -- what the call itself did, the last to be written; set by commands
  }
end

-- The stored state of a tab (nil if there is none), whether its lease is still running,
-- and the state's text. An expired tab has a state until it is swept: the entries still
-- count it.
function roster.find(record, tab_id)
  local lease_end = redis.call("ZSCORE", record.seen, tab_id)
  local text = lease_end and redis.call("HGET", record.tabs, tab_id)
  local state = tab_state.decode(text)
  if lease_end and not state then
    record.is_damaged = true
  end
  return state, state ~= nil and tonumber(lease_end) > record.now_ms, text
end

-- Update the record's longest lease for a new lease that ends at `lease_end` (ms).
local function set_max_lease(record, lease_end)
  local lease_ms = lease_end - record.now_ms
  local is_default = lease_ms == record.default_lease_ms and lease_ms < record.max_lease_ms
  if is_default and expiry.last_lease_end(record.seen) <= lease_end then
    -- The default was lowered, and no longer lease is left. Only a heartbeat whose
    -- lease is the longest can take the fast path, so the longest must be lowered too.
    record.max_lease_ms = lease_ms
  end
  record.must_tell_next_expiry = lease_ms < record.max_lease_ms
  if lease_ms > record.max_lease_ms or lease_end < record.no_expiry_before_s * 1000 then
    record.must_extend_keys = true
  end
  record.max_lease_ms = math.max(record.max_lease_ms, lease_ms)
end

-- Whether the user has another tab than the one whose stored state this is; true if in doubt.
local function has_other_tabs(record, user, old_state)
  local is_own = old_state and old_state.user == user
  return record.is_damaged or viewer_entries.count_tabs(record, user) > (is_own and 1 or 0)
end

-- Write a tab's state (JSON text) and the end of its lease (ms, digits). The last three
-- are what roster.find says of the tab, which must be the user's own if it is live. False,
-- and writes nothing, where the tab is one too many of its user; otherwise true, and what
-- is left out of the state, see lib.viewer_budget.
--
-- A full Redis refuses the first write here, and so the whole call.
function roster.put_tab(record, tab_id, state_text, lease_end, old_state, is_live, old_text)
  local state = tab_state.decode(state_text)
  local fitting_text, left_out = state_text, nil
  if #state_text > MAX_SMALL_STATE_BYTES or has_other_tabs(record, state.user, old_state) then
    fitting_text, left_out = load_viewer_budget().fit(record, tab_id, state_text, old_state, is_live)
    if not fitting_text then
      return false
    end
    state = tab_state.decode(fitting_text)
  end
  redis.call("ZADD", record.seen, lease_end, tab_id)
  if fitting_text ~= old_text then
    redis.call("HSET", record.tabs, tab_id, fitting_text)
  end
  set_max_lease(record, tonumber(lease_end))
  record.is_modified = true
  record.put_tab_id, record.put_user, record.is_put_editing = tab_id, state.user, state.is_editing
  if old_state and old_state.user ~= state.user then
    record.must_check_claims = true
  end
  -- A damaged record is recounted as a whole, by sweep_and_repair.
  if old_state and not record.is_damaged then
    viewer_entries.subtract_tab(record, old_state, "expired")
  end
  if not record.is_damaged then
    local is_same = is_live and old_state.user == state.user and old_state.name == state.name
    viewer_entries.add_tab(record, state, not is_same)
    local had_profile = old_state and old_state.user == state.user and old_state.profile or nil
    local is_new_profile = had_profile ~= state.profile
    if had_profile or state.profile then
      viewer_entries.set_profile(record, state.user, record.put_profile, is_new_profile)
    end
  end
  return true, left_out
end

-- Whether put_tab may have counted a user's tabs whose leases are over as live ones.
function roster.may_count_stale_tabs(record)
  return load_viewer_budget().may_count_stale_tabs(record)
end

-- Remove a tab and its lease. The first write is a removal, which a full Redis accepts.
function roster.remove_tab(record, tab_id, reason)
  local state = roster.find(record, tab_id)
  redis.call("ZREM", record.seen, tab_id)
  redis.call("HDEL", record.tabs, tab_id)
  record.is_modified, record.must_check_claims = true, true
  if state and not record.is_damaged then
    viewer_entries.subtract_tab(record, state, reason)
  end
end

-- Sweep tabs whose leases are over, shorten leases that a clock set back has left too far
-- ahead, and repair a record that is damaged. Where too many leases are over for one call,
-- it sweeps the first of them and sets `has_unswept_tabs`: a command that was to list
-- viewers or tabs returns SWEEP_FIRST, so that nobody is shown who has left.
function roster.sweep_and_repair(record)
  local latest_ms = string.format("%d", record.now_ms + record.max_lease_ms)
  local now_ms = string.format("%d", record.now_ms)
  local stale = redis.call("ZRANGEBYSCORE", record.seen, "-inf", now_ms, "LIMIT", 0, MAX_SWEPT_TABS)
  local too_late = redis.call("ZRANGEBYSCORE", record.seen, "(" .. latest_ms, "+inf")
  if #stale > 0 or #too_late > 0 or record.is_damaged then
    record.is_modified, record.must_check_claims = true, true
    -- Loaded here, since few calls need it.
    local sweep = require("lib.sweep")
    sweep.remove_tabs(record, stale)
    record.has_unswept_tabs = redis.call("ZCOUNT", record.seen, "-inf", now_ms) > 0
    sweep.shorten_leases(record, too_late, latest_ms)
    if record.is_damaged then
      load_claims().load(record) -- before the viewers hash is removed
      sweep.recount(record)
    end
  end
end

-- Milliseconds until the next lease ends, or a claim is to be passed on; 0 when tabs are left
-- to be swept, nil when there is no lease.
function roster.next_expiry_ms(record)
  local lease_end = expiry.first_lease_end(record.seen)
  if not lease_end then
    return nil
  end
  return math.max(0, math.min(lease_end, record.pass_due_ms or lease_end) - record.now_ms)
end

-- Time makes a version differ from those of a record that was emptied or
-- lost; the nonce makes it differ even when the clock was set back.
local function next_version(record, nonce)
  local last_us = tonumber(string.match(record.version, "^%d+")) or 0
  return string.format("%d-%s", math.max(record.now_us, last_us + 1), nonce)
end

-- Keeps `no_expiry_before_s` for as long as it holds, so that most changes need not
-- extend the keys.
local function write_meta(record, tab_count)
  if record.must_extend_keys then
    record.no_expiry_before_s = expiry.no_expiry_before_s(record.seen)
  end
  if record.pass_due_ms then
    record.no_expiry_before_s = math.min(record.no_expiry_before_s, math.floor(record.pass_due_ms / 1000))
  end
  local meta = string.format(
    "%s %d %d %d %d %d",
    record.version,
    record.max_lease_ms,
    record.no_expiry_before_s,
    tab_count,
    record.arrivals,
    record.remembered_since_ms
  )
  if meta ~= record.meta or record.is_recounted then
    redis.call("HSET", record.viewers, "#", meta)
  end
end

local function extend_keys(record, tab_count)
  local keys = { record.tabs, record.seen, record.viewers }
  if viewer_list.may_have_index(tab_count) then
    keys[4], keys[5] = record.order, record.unsaved
  end
  -- Where tabs are left to be swept, that time has passed, and live ones need the keys.
  local from_s = math.max(record.no_expiry_before_s, math.floor(record.now_ms / 1000))
  expiry.extend_keys(keys, from_s, record.max_lease_ms)
end

local function write_record(record, tab_count, events, previous_version)
  if record.is_recounted or not record.meta then
    load_claims().write_all(record)
  end
  write_meta(record, tab_count)
  if #events > 0 then
    viewer_list.update_index(record.viewers, record.order, tab_count, events)
  end
  local may_have_index = record.version ~= previous_version and viewer_list.may_have_index(tab_count)
  if may_have_index and redis.call("EXISTS", record.unsaved) == 1 then
    local unsaved_index = require("lib.unsaved_index")
    unsaved_index.update(record, previous_version)
  end
  if record.must_extend_keys then
    extend_keys(record, tab_count)
  end
end

-- A record without tabs has no keys but its timeline.
local function remove_record(record, events)
  local last = record.timeline_entries[#record.timeline_entries]
  if #events > 0 and last and last[1] == "leave" then
    last[5] = 1 -- nobody is left
  end
  if record.meta or record.is_recounted then
    redis.call("DEL", record.tabs, record.seen, record.viewers, record.order, record.unsaved)
  end
end

-- Publish to the record's streams what has changed since `previous_version`, and when
-- the next lease ends, since they sweep the record then. Without changes, publish just
-- that time. The record's channel has the name of its tabs key.
local function announce(record, is_changed, previous_version, events)
  local message = { version = record.version, next_ms = roster.next_expiry_ms(record) }
  if is_changed then
    message.previous = previous_version
    if previous_version == EMPTY_VERSION then
      message.opened_ms = string.format("%d", record.opened_ms or record.remembered_since_ms)
    end
    message.saved = record.saved_row
    if record.are_claims_changed then
      message.claims, message.waiting = record.claims, #record.waiting > 0 and record.waiting or nil
    end
    if record.is_recounted or record.are_saves_replaced or #events > MAX_CHANGES then
      message.reset = true
    else
      message.changes = events
    end
  end
  redis.call("PUBLISH", record.tabs, cjson.encode(message))
end

local function has_joined(record, events)
  for _, event in ipairs(events) do
    if event[1] == "join" and event[2] == record.put_user then
      return true
    end
  end
  return record.is_recounted
end

-- End the claims of tabs that are gone or whose users are away, and give them to those who
-- wait. `commit` does it, too; a command that has to know who has a field calls it before.
function roster.settle_claims(record)
  if record.must_check_claims then
    load_claims().release_claims_of_gone_tabs(record)
  end
  if record.has_queue then
    load_claims().settle(record)
  end
end

-- Write all that follows from what this call has changed, and announce it. Writes nothing
-- when nothing was put, removed, saved, claimed, passed on, swept or repaired.
function roster.commit(record, nonce)
  if not record.is_modified and not record.has_queue then
    return
  end
  local tab_count = redis.call("ZCARD", record.seen)
  if tab_count > 0 then
    roster.settle_claims(record)
  end
  if not record.is_modified then
    return
  end
  local events = viewer_entries.write(record)
  record.has_joined = has_joined(record, events)
  local is_list_changed = #events > 0 or record.is_recounted
  local is_changed = is_list_changed or record.saved_row or record.are_claims_changed
  local previous_version = record.version
  if tab_count == 0 then
    is_changed = is_list_changed -- saves and claims end with the last tab
    record.version = EMPTY_VERSION
    remove_record(record, events)
  else
    if is_changed then
      record.version = next_version(record, nonce)
    end
    write_record(record, tab_count, events, previous_version)
  end
  timeline_entries.write_changes(record)
  if is_changed or record.must_tell_next_expiry then
    announce(record, is_changed, previous_version, events)
  end
end

-- Open, sweep and commit a record, for a command that only reads it. Returns the
-- record. `is_damaged`: the caller has found a tab's state that can't be read.
function roster.sweep(keys, default_lease_ms, timeline_ms, nonce, is_damaged)
  local record = roster.open(keys, default_lease_ms, timeline_ms)
  record.is_damaged = record.is_damaged or is_damaged
  roster.sweep_and_repair(record)
  roster.commit(record, nonce)
  return record
end

return roster
