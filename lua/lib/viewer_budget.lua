-- lib.viewer_budget - How much a user's tabs may say together on one record.
--
-- A viewer entry is stored, announced and listed whole, so nobody may make one that
-- keeps Redis and everybody else busy. What is too much is left out of a tab's state
-- before it is stored: the entry still equals what the stored states say, and no tab
-- is refused because of its fields. A new tab is refused where there are too many; one
-- that is live never is.
--
-- The same constants, with the same values, are in app/presence/limits.py.
local batches = require("lib.batches")
local tab_state = require("lib.tab_state")
local viewer_entries = require("lib.viewer_entries")

local viewer_budget = {}

local MAX_TABS_PER_USER = 50 -- that are live
local MAX_ACTIVE_FIELDS = 20 -- different ones, of a user
local MAX_DIRTY_FIELDS = 200 -- the same,
local MAX_DIRTY_FIELDS_BYTES = 8192 -- and of their names together, in UTF-8
local FIRST_STALE_TABS = 50 -- of all users; where more are to be swept, the others still count
local MAX_LEFT_OUT_BYTES = 8192 -- of the names that a reply repeats

-- Call `visit` with the states of these tabs that can be read and are the user's;
-- true when one of them can't be read.
local function each_state(record, tab_ids, user, without_tab_id, visit)
  local is_damaged = false
  batches.each(tab_ids, function(first, ...)
    for i, text in ipairs(redis.call("HMGET", record.tabs, ...)) do
      local state = tab_state.decode(text)
      if not state then
        is_damaged = true
      elseif state.user == user and tab_ids[first + i - 1] ~= without_tab_id then
        visit(state)
      end
    end
  end)
  return is_damaged
end

-- The same counts from the states of all live tabs, where the entry can't be relied on.
local function recount_other_tabs(record, tab_id, user)
  local counts = viewer_entries.new_counts()
  local now_ms = string.format("%d", record.now_ms)
  local live = redis.call("ZRANGEBYSCORE", record.seen, "(" .. now_ms, "+inf")
  each_state(record, live, user, tab_id, function(state)
    viewer_entries.count(counts, state, 1)
  end)
  return counts
end

-- What the user's other live tabs say, as counts, see lib.viewer_entries. `old_state`
-- is what is stored of this tab. Costs O(stale tabs), or of the first of them, where they
-- are too many.
local function count_other_tabs(record, tab_id, user, old_state)
  if record.is_damaged then
    return recount_other_tabs(record, tab_id, user)
  end
  local counts = viewer_entries.copy_counts(record, user)
  local function subtract(state)
    viewer_entries.count(counts, state, -1)
  end
  if old_state and old_state.user == user then
    subtract(old_state)
  end
  -- Nobody has swept these yet, so the entry counts them.
  local now_ms = string.format("%d", record.now_ms)
  local stale = redis.call("ZRANGEBYSCORE", record.seen, "-inf", now_ms, "LIMIT", 0, FIRST_STALE_TABS)
  if each_state(record, stale, user, tab_id, subtract) then
    record.is_damaged = true
    return recount_other_tabs(record, tab_id, user)
  end
  return counts
end

local function size_of(counts)
  local names, bytes = 0, 0
  for name in pairs(counts) do
    names, bytes = names + 1, bytes + #name
  end
  return names, bytes
end

-- Sort the state's dirty fields into those that fit beside the others' and the rest,
-- in their order. A name that another tab has already takes no room.
local function split_dirty_fields(state, others)
  local kept, left_out = {}, {}
  local count, bytes = size_of(others)
  for _, name in ipairs(state.dirty_fields) do
    local is_new = not others[name]
    if is_new and (count >= MAX_DIRTY_FIELDS or bytes + #name > MAX_DIRTY_FIELDS_BYTES) then
      left_out[#left_out + 1] = name
    else
      kept[#kept + 1] = name
      if is_new then
        count, bytes = count + 1, bytes + #name
      end
    end
  end
  return kept, left_out
end

-- JSON: {"active_field", "dirty_fields", "more"}, each where there is any; `more` is how
-- many names are left out that are not named.
local function encode_left_out(active_field, dirty_fields)
  local named, bytes = {}, 0
  for _, name in ipairs(dirty_fields) do
    bytes = bytes + #name
    if bytes > MAX_LEFT_OUT_BYTES then
      break
    end
    named[#named + 1] = name
  end
  return cjson.encode({
    active_field = active_field,
    dirty_fields = #named > 0 and named or nil,
    more = #dirty_fields > #named and #dirty_fields - #named or nil,
  })
end

-- What may be stored of the state that a tab has sent (JSON text; nil for a tab too
-- many), and what is left out of it (JSON text; nil for nothing). `old_state` is what is
-- stored of this tab, `is_live` whether it is the user's already. To be called before
-- anything is put.
function viewer_budget.fit(record, tab_id, state_text, old_state, is_live)
  local state = tab_state.decode(state_text)
  if is_live and not state.active_field and #state.dirty_fields == 0 then
    return state_text
  end
  local others = count_other_tabs(record, tab_id, state.user, old_state)
  if not is_live and others.tabs >= MAX_TABS_PER_USER then
    return nil
  end
  local active_field = state.active_field
  if active_field and (others.fields[active_field] or size_of(others.fields) < MAX_ACTIVE_FIELDS) then
    active_field = nil
  end
  local dirty_fields, left_out = split_dirty_fields(state, others.dirty_fields)
  if not active_field and #left_out == 0 then
    return state_text
  end
  local kept_field = not active_field and state.active_field or nil
  local trimmed_text = tab_state.replace_fields(state_text, kept_field, dirty_fields)
  return trimmed_text, encode_left_out(active_field, left_out)
end

-- Whether a user's tabs whose leases are over may have counted as live ones.
function viewer_budget.may_count_stale_tabs(record)
  local now_ms = string.format("%d", record.now_ms)
  return redis.call("ZCOUNT", record.seen, "-inf", now_ms) > FIRST_STALE_TABS
end

return viewer_budget
