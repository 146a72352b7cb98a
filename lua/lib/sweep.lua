-- lib.sweep - Remove tabs whose leases are over, and repair a record that is damaged.
--
-- The parts of roster.sweep_and_repair, in their order.
local batches = require("lib.batches")
local tab_state = require("lib.tab_state")
local viewer_entries = require("lib.viewer_entries")
local viewer_list = require("lib.viewer_list")

local sweep = {}

local EMPTY_VERSION = "0" -- also of a record that has lost its meta
local MAX_SWEPT_BYTES = 40960 -- of states, in one call
local MAX_READ_STATES = 8 -- at once: a state may have 20 KB

-- Remove tabs whose leases are over: of these, as many as there is time for. The caller
-- sees to the others. A damaged record is counted anew in any case, without all of them.
--
-- The first write is a removal, even if it removes nothing, because a full Redis
-- accepts no other.
function sweep.remove_tabs(record, tab_ids)
  if record.is_damaged then
    redis.call("ZREMRANGEBYSCORE", record.seen, "-inf", string.format("%d", record.now_ms))
    return
  end
  if #tab_ids == 0 then
    redis.call("ZREM", record.seen, "")
  end
  local bytes, place = 0, 0
  while place < #tab_ids and bytes < MAX_SWEPT_BYTES do
    local last = math.min(place + MAX_READ_STATES, #tab_ids)
    redis.call("ZREM", record.seen, unpack(tab_ids, place + 1, last))
    for _, text in ipairs(redis.call("HMGET", record.tabs, unpack(tab_ids, place + 1, last))) do
      local state = tab_state.decode(text)
      if state then
        bytes = bytes + #text
        viewer_entries.subtract_tab(record, state, "expired")
      else
        record.is_damaged = true
      end
    end
    redis.call("HDEL", record.tabs, unpack(tab_ids, place + 1, last))
    place = last
  end
end

-- Let these leases end at `latest_ms`. After the clock was set back, they would last
-- longer than the record's longest lease.
function sweep.shorten_leases(record, tab_ids, latest_ms)
  for _, tab_id in ipairs(tab_ids) do
    redis.call("ZADD", record.seen, latest_ms, tab_id)
    record.must_extend_keys = true
  end
end

-- Remove leases without a readable state, and tabs without a lease. Returns the
-- states of the others, in the order in which their leases end.
local function remove_incomplete_tabs(record)
  local leased = redis.call("ZRANGE", record.seen, 0, -1)
  local states, is_complete = {}, {}
  batches.each(leased, function(first, ...)
    for i, text in ipairs(redis.call("HMGET", record.tabs, ...)) do
      local tab_id, state = leased[first + i - 1], tab_state.decode(text)
      if state then
        state.tab_id, state.text = tab_id, text
        states[#states + 1], is_complete[tab_id] = state, true
      else
        redis.call("ZREM", record.seen, tab_id)
      end
    end
  end)
  for _, tab_id in ipairs(redis.call("HKEYS", record.tabs)) do
    if not is_complete[tab_id] then
      redis.call("HDEL", record.tabs, tab_id)
    end
  end
  return states
end

-- Give a user their profile again. Where it is lost, the tab forgets its digest, so that
-- its next heartbeat brings it back.
local function restore_profile(record, state, profile)
  local is_put = state.tab_id == record.put_tab_id
  viewer_entries.set_profile(record, state.user, is_put and record.put_profile or profile, is_put)
  if not profile and not is_put then
    local text = tab_state.replace_fields(state.text, state.active_field, state.dirty_fields, "profile")
    redis.call("HSET", record.tabs, state.tab_id, text)
  end
end

-- Recount the viewers of a damaged record from its tabs. A user whose tabs give
-- different names gets that of the tab whose lease ends last. Users who still have an
-- entry keep their place in the order of arrival. Saves and claims have
-- been loaded.
function sweep.recount(record)
  local states = remove_incomplete_tabs(record)
  local arrivals = viewer_list.arrivals(record.viewers)
  local profiles = viewer_entries.profiles(record.viewers)
  for user, arrival in pairs(arrivals) do
    local place = viewer_entries.place_of(arrival)
    record.arrivals = math.max(record.arrivals, place)
    if record.version == EMPTY_VERSION then
      arrivals[user] = place -- its seconds are since an opening that is not known any more
    end
  end
  redis.call("DEL", record.viewers, record.order, record.unsaved)
  record.changes, record.changed_users = {}, {}
  for _, state in ipairs(states) do
    viewer_entries.add_tab(record, state, true, arrivals[state.user])
    if state.profile then
      restore_profile(record, state, profiles[state.user])
    end
  end
  record.is_recounted, record.must_extend_keys = true, true
end

return sweep
