-- lib.roster - The viewers of a record, kept equal to what its live tabs say.
--
-- Three keys describe a record:
--
--   tabs     hash  tab_id -> state, the JSON array
--                  [user, name, doing?, active_field?, extras?];
--                  doing: 1 edits, plus 2 has unsaved changes
--   seen     zset  tab_id -> end of lease, ms
--   viewers  hash  user -> seat, the JSON array
--                  [name, arrival, tabs, editing, dirty, field, count, ...,
--                   [dirty_field, count, ...]?]
--                  "#"  -> "version longest_lease_ms calm_until_s tabs
--                           arrivals opened_ms", in 64 bytes
--                  "#saves", "#claims", see lib.notes
--   order    zset  user -> arrival; an index, kept for crowds only
--   timeline stream, see lib.timeline
--
-- `opened_ms` is since when saves are remembered without a gap.
--
-- `user` is the JSON text of a user id (42 or "u-7" with its quotes): as text
-- it keeps its type and all its digits, which a Lua number would not.
--
-- Invariants, true whenever a script that settles the roster returns:
--   1. tabs and seen have the same members; no lease in seen is over, none
--      ends later than the longest lease from now.
--   2. A user has a seat exactly when a tab of hers is live, and the seat's
--      counts are the sums over her live tabs.
--   3. The version differs from every earlier one when what a viewer list
--      shows differs.
--   4. Every key outlives the last lease, by the longest one at most, and all
--      end together; an empty record has none but its timeline.
--   5. A claim belongs to a live tab.
--   6. No lease ends before calm_until_s, see lib.calm.
--
-- A script opens the roster, changes it, settles it (sweep or repair) and
-- commits it. Only commit writes seats, so that a change which cancels itself
-- out costs nothing and is announced to nobody.
local calm = require("lib.calm")
local notes = require("lib.notes")
local timeline = require("lib.timeline")

local roster = { notes = notes, timeline = timeline }

local META = "#"
local EMPTY_VERSION = "0"
local CROWD = 128 -- viewers; from here on a list is read through the index
local BATCH = 1000 -- Lua's stack limits what unpack() may return
local MOST_CHANGES = 100 -- in one message; more are announced as a reset
local MOST_DIRTY_FIELDS = 200 -- of a user, in all of her tabs

local function is_user_field(field)
  return string.sub(field, 1, 1) ~= META
end

local function in_batches(items, visit)
  for first = 1, #items, BATCH do
    local last = math.min(first + BATCH - 1, #items)
    visit(first, last, unpack(items, first, last))
  end
end

-- The JSON text of an integer or of a string; everything else would be a seat
-- that no reader of the list understands.
local function is_user(text)
  if type(text) ~= "string" then
    return false
  end
  if string.match(text, "^-?[1-9]%d*$") or text == "0" then
    return true
  end
  local is_json, id = pcall(cjson.decode, text)
  return is_json and type(id) == "string"
end

-- What is no list of names counts as none.
local function names_in(list)
  local names = {}
  if type(list) == "table" then
    for _, name in ipairs(list) do
      if type(name) == "string" then
        names[#names + 1] = name
      end
    end
  end
  return names
end

-- A state that we did not write (any other system may write to this hash)
-- counts as no state at all; it must not break the record for everybody.
local function decode_state(text)
  if not text then
    return nil
  end
  local is_json, state = pcall(cjson.decode, text)
  if not is_json or type(state) ~= "table" then
    return nil
  end
  local user, name, doing, active_field = state[1], state[2], state[3] or 0, state[4] or ""
  local extras = type(state[5]) == "table" and state[5] or {}
  if
    not is_user(user)
    or type(name) ~= "string"
    or (doing ~= 0 and doing ~= 1 and doing ~= 2 and doing ~= 3)
    or type(active_field) ~= "string"
  then
    return nil
  end
  return {
    user = user,
    name = name,
    editing = doing % 2 == 1,
    dirty = doing >= 2,
    active_field = active_field ~= "" and active_field or nil,
    dirty_fields = names_in(extras.dirty_fields),
  }
end

function roster.is_state(text)
  return decode_state(text) ~= nil
end

local function counts_of(pairs_of, first, last)
  local counts = {}
  for i = first, last, 2 do
    counts[pairs_of[i]] = pairs_of[i + 1]
  end
  return counts
end

-- Sorted, so that equal seats have equal texts.
local function append_counts(packed, counts)
  local names = {}
  for name in pairs(counts) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    packed[#packed + 1] = name
    packed[#packed + 1] = counts[name]
  end
  return packed
end

local function change_count(counts, name, by)
  local count = (counts[name] or 0) + by
  counts[name] = count > 0 and count or nil
end

local function decode_seat(text)
  local packed = cjson.decode(text)
  local seat = {
    name = packed[1],
    arrival = packed[2],
    tabs = packed[3],
    editing = packed[4],
    dirty = packed[5],
    dirty_fields = {},
  }
  local last = #packed
  if type(packed[last]) == "table" then
    seat.dirty_fields = counts_of(packed[last], 1, #packed[last])
    last = last - 1
  end
  seat.fields = counts_of(packed, 6, last)
  return seat
end

local function pack_seat(seat)
  local packed = { seat.name, seat.arrival, seat.tabs, seat.editing, seat.dirty }
  append_counts(packed, seat.fields)
  if next(seat.dirty_fields) then
    packed[#packed + 1] = append_counts({}, seat.dirty_fields)
  end
  return packed
end

-- What a viewer list shows of a seat: whether she edits, not in how many tabs.
local function shown(packed)
  local parts = { packed[1], packed[3], packed[4] > 0, packed[5] > 0 }
  for i = 6, #packed, 2 do
    if type(packed[i]) == "table" then
      parts[#parts + 1] = 0 -- no field has this name
      for j = 1, #packed[i], 2 do
        parts[#parts + 1] = packed[i][j]
      end
    else
      parts[#parts + 1] = packed[i]
    end
  end
  return cjson.encode(parts)
end

-- `change` keeps what was there before and what is there now.
local function change_of(room, user)
  local change = room.changes[user]
  if not change then
    local before = redis.call("HGET", room.viewers, user)
    change = { user = user, before = before, seat = before and decode_seat(before) or nil }
    room.changes[user] = change
    room.changed_users[#room.changed_users + 1] = user
  end
  return change
end

-- `is_named`: this state brings her newest name. Another one only gives a name
-- to a seat that has none, so that a tab with an old name does not bring it back.
local function add(room, state, is_named)
  local change = change_of(room, state.user)
  local seat = change.seat
  if not seat then
    room.arrivals = room.arrivals + 1
    seat = { arrival = room.arrivals, tabs = 0, editing = 0, dirty = 0 }
    seat.fields, seat.dirty_fields = {}, {}
    change.seat = seat
  end
  if is_named or not seat.name then
    seat.name = state.name
  end
  seat.tabs = seat.tabs + 1
  seat.editing = seat.editing + (state.editing and 1 or 0)
  seat.dirty = seat.dirty + (state.dirty and 1 or 0)
  if state.active_field then
    change_count(seat.fields, state.active_field, 1)
  end
  for _, name in ipairs(state.dirty_fields) do
    change_count(seat.dirty_fields, name, 1)
  end
end

local function is_counted(seat, state)
  if not seat or seat.tabs == 0 or (state.active_field and not seat.fields[state.active_field]) then
    return false
  end
  for _, name in ipairs(state.dirty_fields) do
    if not seat.dirty_fields[name] then
      return false
    end
  end
  return true
end

-- A seat that does not hold what the tab says: somebody else wrote its state.
local function subtract(room, state, reason)
  local change = change_of(room, state.user)
  local seat = change.seat
  if not is_counted(seat, state) then
    room.damaged = true
    return
  end
  seat.tabs = seat.tabs - 1
  seat.editing = seat.editing - (state.editing and 1 or 0)
  seat.dirty = seat.dirty - (state.dirty and 1 or 0)
  if state.active_field then
    change_count(seat.fields, state.active_field, -1)
  end
  for _, name in ipairs(state.dirty_fields) do
    change_count(seat.dirty_fields, name, -1)
  end
  change.reason = reason
end

-- Read what there is. Writes nothing. `keys` are those of the record by name,
-- `now_us` is the time by lib.clock.
-- `usual_ms` is how long a lease may be where the record does not say so;
-- `timeline_ms` how long its timeline is kept, 0 for none.
function roster.open(keys, now_us, usual_ms, timeline_ms)
  local tabs, seen, viewers = keys.tabs, keys.seen, keys.viewers
  local meta = redis.call("HGET", viewers, META)
  local version, longest_ms, calm_until_s, tab_count, arrivals, opened_ms
  if meta then
    version, longest_ms, calm_until_s, tab_count, arrivals, opened_ms =
      string.match(meta, "^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$")
  end
  local seen_count = redis.call("ZCARD", seen)
  local is_intact = redis.call("HLEN", tabs) == seen_count and seen_count == (tonumber(tab_count) or 0)
  local room = {
    tabs = tabs,
    seen = seen,
    viewers = viewers,
    order = keys.order,
    timeline = keys.timeline,
    timeline_ms = timeline_ms,
    now_us = now_us,
    now_ms = math.floor(now_us / 1000),
    usual_ms = usual_ms,
    longest_ms = tonumber(longest_ms) or usual_ms,
    calm_until_s = tonumber(calm_until_s) or 0,
    meta = meta,
    version = version or EMPTY_VERSION,
    arrivals = tonumber(arrivals) or 0,
    opened_ms = tonumber(opened_ms) or math.floor(now_us / 1000),
    -- Redis may evict one key of a record and keep the others.
    damaged = not is_intact,
    changes = {},
    changed_users = {},
    entries = {},
  }
  return room
end

-- The state of a tab as the aggregate counts it (also when its lease is over
-- and nobody has swept it yet), and whether it is live.
function roster.find(room, tab_id)
  local lease_end = redis.call("ZSCORE", room.seen, tab_id)
  local state = lease_end and decode_state(redis.call("HGET", room.tabs, tab_id)) or nil
  if lease_end and not state then
    room.damaged = true
  end
  return state, state ~= nil and tonumber(lease_end) > room.now_ms
end

-- Whether all tabs of a user would have too many fields unsaved. A seat is read
-- and told whole, so nobody may make one that keeps Redis and everybody else busy.
local function is_too_much(room, held, state)
  local seat = change_of(room, state.user).seat
  if not seat or #state.dirty_fields == 0 then
    return false
  end
  local is_dirty, own, count = {}, {}, 0
  for _, name in ipairs(held and held.user == state.user and held.dirty_fields or {}) do
    own[name] = 1
  end
  for name, tabs in pairs(seat.dirty_fields) do
    is_dirty[name] = tabs > (own[name] or 0) or nil
  end
  for _, name in ipairs(state.dirty_fields) do
    is_dirty[name] = true
  end
  for _ in pairs(is_dirty) do
    count = count + 1
  end
  return count > MOST_DIRTY_FIELDS
end

-- The first write is the one that a full Redis may refuse: then it refuses
-- the whole call. False, and nothing is written, when it would be too much.
function roster.put(room, tab_id, state_text, lease_end)
  local held = roster.find(room, tab_id)
  local state = decode_state(state_text)
  if not room.damaged and is_too_much(room, held, state) then
    return false
  end
  redis.call("ZADD", room.seen, string.format("%d", lease_end), tab_id)
  redis.call("HSET", room.tabs, tab_id, state_text)
  local lease_ms = lease_end - room.now_ms
  local is_usual = lease_ms == room.usual_ms and lease_ms < room.longest_ms
  if is_usual and calm.last_end(room.seen) <= tonumber(lease_end) then
    -- The setting is lower than it was, and no lease is left of then.
    room.longest_ms = lease_ms
  end
  room.is_short = lease_ms < room.longest_ms
  room.is_longer = lease_ms > room.longest_ms
  room.ends_before_calm = lease_end / 1000 < room.calm_until_s
  room.longest_ms = math.max(room.longest_ms, lease_ms)
  room.is_renewed = true
  -- What she had claimed in this tab is not claimed by him.
  room.put_tab, room.put_user = tab_id, state.user
  if held and held.user ~= state.user then
    room.has_lost_tabs = true
  end
  if not room.damaged then
    add(room, state, not held or held.name ~= state.name)
    if held then
      subtract(room, held, "expired")
    end
  end
  return true
end

-- The first write is a removal, which a full Redis lets pass.
function roster.drop(room, tab_id, reason)
  local held = roster.find(room, tab_id)
  redis.call("ZREM", room.seen, tab_id)
  redis.call("HDEL", room.tabs, tab_id)
  room.has_lost_tabs = true
  if held and not room.damaged then
    subtract(room, held, reason)
  end
end

-- Count everything again from the tabs that have a lease, the newest name last.
-- Arrivals are taken over from the seats that are still there.
local function rebuild(room)
  local leased = redis.call("ZRANGE", room.seen, 0, -1)
  local live, is_live = {}, {}
  in_batches(leased, function(first, _, ...)
    for i, text in ipairs(redis.call("HMGET", room.tabs, ...)) do
      local tab_id, state = leased[first + i - 1], decode_state(text)
      if state then
        live[#live + 1], is_live[tab_id] = state, true
      else
        redis.call("ZREM", room.seen, tab_id)
      end
    end
  end)
  for _, tab_id in ipairs(redis.call("HKEYS", room.tabs)) do
    if not is_live[tab_id] then
      redis.call("HDEL", room.tabs, tab_id)
    end
  end

  local arrivals = {}
  notes.load(room)
  local held = redis.call("HGETALL", room.viewers)
  for i = 1, #held, 2 do
    if is_user_field(held[i]) then
      local seat = decode_seat(held[i + 1])
      arrivals[held[i]] = seat.arrival
      room.arrivals = math.max(room.arrivals, seat.arrival)
    end
  end
  redis.call("DEL", room.viewers, room.order)
  room.changes, room.changed_users = {}, {}
  for _, state in ipairs(live) do
    local is_new = not room.changes[state.user]
    add(room, state, true)
    if is_new and arrivals[state.user] then
      room.changes[state.user].seat.arrival = arrivals[state.user]
    end
  end
  room.reset = true
end

-- Sweep what is stale, rein in leases that a clock set back has left too far
-- ahead, and repair what eviction has broken.
function roster.settle(room)
  local now = string.format("%d", room.now_ms)
  local horizon = string.format("%d", room.now_ms + room.longest_ms)
  local stale = redis.call("ZRANGEBYSCORE", room.seen, "-inf", now)
  local too_far = redis.call("ZRANGEBYSCORE", room.seen, "(" .. horizon, "+inf")
  if #stale == 0 and #too_far == 0 and not room.damaged then
    return
  end
  -- A removal comes first, even of nothing, so that a full Redis can still be tidied.
  redis.call("ZREMRANGEBYSCORE", room.seen, "-inf", now)
  room.has_lost_tabs = true
  in_batches(stale, function(_, _, ...)
    for _, text in ipairs(redis.call("HMGET", room.tabs, ...)) do
      local state = not room.damaged and decode_state(text)
      if state then
        subtract(room, state, "expired")
      else
        room.damaged = true
      end
    end
    redis.call("HDEL", room.tabs, ...)
  end)
  for _, tab_id in ipairs(too_far) do
    redis.call("ZADD", room.seen, horizon, tab_id)
    room.is_reined_in = true
  end
  if room.damaged then
    rebuild(room)
  end
end

-- Time makes a version differ from those of a record that was emptied or
-- lost; the nonce makes it differ even when the clock was set back.
local function next_version(room, nonce)
  local last_us = tonumber(string.match(room.version, "^%d+")) or 0
  return string.format("%d-%s", math.max(room.now_us, last_us + 1), nonce)
end

-- Write the seats that changed; returns what a viewer list shows differently.
local function write_seats(room)
  local events, entries = {}, room.entries
  for _, user in ipairs(room.changed_users) do
    local change = room.changes[user]
    local before = change.before and cjson.decode(change.before)
    if change.seat and change.seat.tabs > 0 then
      local after = pack_seat(change.seat)
      local text = cjson.encode(after)
      if text ~= change.before then
        redis.call("HSET", room.viewers, user, text)
      end
      if not before then
        events[#events + 1] = { "join", user, after }
        entries[#entries + 1] = timeline.seat_entry("join", user, after)
      elseif shown(before) ~= shown(after) then
        events[#events + 1] = { "update", user, after }
        entries[#entries + 1] = timeline.seat_entry("update", user, after)
      end
    elseif before then
      redis.call("HDEL", room.viewers, user)
      events[#events + 1] = { "leave", user, change.reason }
      entries[#entries + 1] = { "leave", user, before[1], change.reason }
    end
  end
  return events
end

-- The index follows only where it exists; roster.list() makes it.
local function write_order(room, events)
  if redis.call("EXISTS", room.order) == 0 then
    return
  end
  if redis.call("HLEN", room.viewers) <= CROWD / 2 then
    redis.call("DEL", room.order)
    return
  end
  for _, event in ipairs(events) do
    if event[1] == "join" then
      redis.call("ZADD", room.order, event[3][2], event[2])
    elseif event[1] == "leave" then
      redis.call("ZREM", room.order, event[2])
    end
  end
end

-- Until when the record is calm from now on. What was said before is kept while
-- it is true, so that a change need not touch the ends of the keys.
local function set_calm(room, tab_count)
  local holds = room.meta
    and room.now_us / 1000000 < room.calm_until_s
    and not (room.reset or room.is_reined_in or room.is_longer or room.ends_before_calm)
  if holds then
    return
  end
  room.calm_until_s = calm.until_s(room.seen)
  local keys = { room.tabs, room.seen, room.viewers }
  if tab_count > CROWD / 2 then
    keys[4] = room.order
  end
  room.mortal_keys = keys
end

-- Milliseconds until the next lease ends; nil when there is none.
function roster.next_ms(room)
  local lease_end = calm.first_end(room.seen)
  return lease_end and lease_end - room.now_ms
end

-- What the timeline tells of a commit: who came, changed and left, and then
-- what they did. The last of them, where they are too many.
local function timeline_entries(room)
  local seats, entries = room.entries, {}
  if room.reset or (not room.meta and timeline.is_open(room)) then
    entries[1] = { "reset" }
  end
  for i = math.max(1, #seats - timeline.MOST_ENTRIES + 3), #seats do
    entries[#entries + 1] = seats[i]
  end
  if room.entry then
    entries[#entries + 1] = room.entry
  end
  return entries
end

-- Write what changed, give it a version and announce it. Writes nothing when
-- nothing was put, dropped, noted, swept or repaired.
--
-- Whoever streams the record sweeps it when its next lease ends. That is what
-- `next_ms` tells, also in a message without changes after a lease that may
-- end before all others.
function roster.commit(room, nonce)
  local is_touched = room.is_renewed or room.has_lost_tabs or room.is_reined_in or room.reset
  if not (is_touched or room.saved or room.claims_changed or room.has_forgotten) then
    return
  end
  local tab_count = redis.call("ZCARD", room.seen)
  if room.has_lost_tabs and tab_count > 0 then
    notes.settle(room)
  end
  local events = write_seats(room)
  local is_changed = #events > 0 or room.reset or room.saved or room.claims_changed
  local previous = room.version
  if tab_count == 0 then
    room.version = EMPTY_VERSION
    if #events > 0 then
      room.entries[#room.entries][5] = 1 -- the last to leave
    end
    if room.meta or room.reset then
      redis.call("DEL", room.tabs, room.seen, room.viewers, room.order)
    end
  else
    if is_changed then
      room.version = next_version(room, nonce)
    end
    if room.reset or not room.meta then
      notes.restore(room)
    end
    set_calm(room, tab_count)
    local meta = string.format(
      "%s %d %d %d %d %d",
      room.version,
      room.longest_ms,
      room.calm_until_s,
      tab_count,
      room.arrivals,
      room.opened_ms
    )
    if meta ~= room.meta or room.reset then
      redis.call("HSET", room.viewers, META, meta)
    end
    if #events > 0 then
      write_order(room, events)
    end
    if room.mortal_keys then
      calm.outlive(room.mortal_keys, room.calm_until_s, room.longest_ms)
    end
  end
  room.entries = timeline_entries(room)
  timeline.write(room)
  is_changed = is_changed and (tab_count > 0 or #events > 0 or room.reset)
  if not is_changed and not room.is_short then
    return
  end
  local message = { version = room.version, next_ms = roster.next_ms(room) }
  if is_changed then
    message.previous = previous
    message.saved = room.saved
    message.claims = room.claims_changed and room.claims or nil
    if room.reset or #events > MOST_CHANGES then
      message.reset = true
    else
      message.changes = events
    end
  end
  redis.call("PUBLISH", room.tabs, cjson.encode(message))
end

-- The index of a crowd, made anew.
local function make_index(viewers, order)
  redis.call("DEL", order)
  local packed = redis.call("HGETALL", viewers)
  for i = 1, #packed, 2 do
    if is_user_field(packed[i]) then
      redis.call("ZADD", order, decode_seat(packed[i + 1]).arrival, packed[i])
    end
  end
  redis.call("PEXPIRE", order, redis.call("PTTL", viewers))
end

-- Appends the first `limit` of the index; false, and nothing, when it names somebody who is not there.
local function append_indexed(viewers, order, limit, reply)
  local users, seats = redis.call("ZRANGE", order, 0, limit - 1), {}
  in_batches(users, function(_, _, ...)
    for _, seat in ipairs(redis.call("HMGET", viewers, ...)) do
      seats[#seats + 1] = seat or nil
    end
  end)
  if #seats < #users then
    return false
  end
  for i, user in ipairs(users) do
    reply[#reply + 1], reply[#reply + 2] = user, seats[i]
  end
  return true
end

-- Appends to `reply`: the number of viewers, since when saves are remembered
-- (ms), the texts of saves and claims, then user, seat, user, seat, ... of the first
-- `limit` to arrive (of all of them where there is no crowd; the caller sorts
-- and cuts). Costs O(limit), however many there are.
function roster.list(viewers, order, limit, reply)
  local meta, saves, claims = unpack(redis.call("HMGET", viewers, META, notes.SAVES, notes.CLAIMS))
  local others = (meta and 1 or 0) + (saves and 1 or 0) + (claims and 1 or 0)
  local total = redis.call("HLEN", viewers) - others
  reply[#reply + 1] = total
  reply[#reply + 1] = meta and string.match(meta, "%d+$") or "0"
  reply[#reply + 1] = saves or ""
  reply[#reply + 1] = claims or ""
  if total <= CROWD then
    local packed = redis.call("HGETALL", viewers)
    for i = 1, #packed, 2 do
      if is_user_field(packed[i]) then
        reply[#reply + 1], reply[#reply + 2] = packed[i], packed[i + 1]
      end
    end
    return
  end
  local is_indexed = redis.call("ZCARD", order) == total and append_indexed(viewers, order, limit, reply)
  if not is_indexed then
    make_index(viewers, order)
    append_indexed(viewers, order, limit, reply)
  end
end

return roster
