-- lib.viewer_list - List a record's viewers, through an index where they are many.
--
-- The index is the sorted set `order`: user -> arrival. It is made when there are many, kept
-- up to date from then on, and removed when few are left. It can always be made again from
-- the viewers hash, which takes long where there are very many: this is left for a record
-- that was repaired, or filled by an earlier release.
local batches = require("lib.batches")

local viewer_list = {}

local MAX_READ_ENTRIES = 128 -- at once: an entry may have 20 KB, and most of them fit into no reply
local MAX_READ_AFTER = 32 -- the same, where some few full ones are enough
local ENTRY_OVERHEAD_BYTES = 100 -- that an HTTP answer adds to an entry

local MAX_UNINDEXED_VIEWERS = 128 -- a longer list is read through the index
local MAX_SMALL_VIEWERS = 16 -- whose entries are decoded without an index: some ms if they are full
local MAX_OTHER_FIELDS = 5 -- of a viewers hash, which start with "#"
local MIN_INDEXED_VIEWERS = MAX_UNINDEXED_VIEWERS / 2 -- with fewer there is none

-- The other fields of a viewers hash start with "#".
function viewer_list.is_user(field)
  return string.sub(field, 1, 1) ~= "#"
end

-- The second item of an entry (JSON text), without decoding what may be 20 KB.
local function arrival_of(entry)
  local first = 3 -- of the name, behind `["`
  while true do
    local at = string.find(entry, '["\\]', first)
    if string.sub(entry, at, at) == '"' then
      return tonumber(string.match(entry, "^%s*,%s*(%d+)", at + 1))
    end
    first = at + 2 -- behind an escaped character
  end
end

-- The head of an entry (JSON text), "[name, arrival, tabs, editing, dirty]", without decoding
-- what may be 20 KB; and how many tabs edit and have unsaved changes.
local function head_of(entry)
  local first = 3 -- of the name, behind `["`
  while true do
    local at = string.find(entry, '["\\]', first)
    if string.sub(entry, at, at) == '"' then
      local last, _, editing, dirty =
        select(2, string.find(entry, "^%s*,%s*(%d+)%s*,%s*%d+%s*,%s*(%d+)%s*,%s*(%d+)", at + 1))
      return string.sub(entry, 1, last) .. "]", tonumber(editing), tonumber(dirty)
    end
    first = at + 2 -- behind an escaped character
  end
end

-- The places of all viewers in the order of arrival: user -> place.
function viewer_list.arrivals(viewers)
  local arrivals = {}
  local stored = redis.call("HGETALL", viewers)
  for i = 1, #stored, 2 do
    if viewer_list.is_user(stored[i]) then
      arrivals[stored[i]] = arrival_of(stored[i + 1])
    end
  end
  return arrivals
end

local function rebuild_index(viewers, order)
  local members = {}
  for user, arrival in pairs(viewer_list.arrivals(viewers)) do
    members[#members + 1], members[#members + 2] = arrival, user
  end
  redis.call("DEL", order)
  batches.each(members, function(_, ...)
    redis.call("ZADD", order, ...)
  end)
  redis.call("PEXPIRE", order, redis.call("PTTL", viewers))
end

-- Bring the index up to date with `events`, see lib.viewer_entries, or make it.
function viewer_list.update_index(viewers, order, tab_count, events)
  local is_there = redis.call("EXISTS", order) == 1
  if not is_there and tab_count <= MAX_UNINDEXED_VIEWERS then
    return
  end
  local count = redis.call("HLEN", viewers)
  if not is_there then
    if count > MAX_UNINDEXED_VIEWERS then
      rebuild_index(viewers, order)
    end
    return
  end
  if count <= MIN_INDEXED_VIEWERS then
    redis.call("DEL", order)
    return
  end
  for _, event in ipairs(events) do
    if event[1] == "join" then
      redis.call("ZADD", order, event[3][2], event[2])
    elseif event[1] == "leave" then
      redis.call("ZREM", order, event[2])
    end
  end
end

-- Whether a record of so many tabs may have this index, or that of unsaved fields.
function viewer_list.may_have_index(tab_count)
  return tab_count > MAX_SMALL_VIEWERS
end

-- Whether a record has so few viewers that all of them can be looked at each time. Otherwise
-- it has so many tabs that it may have an index.
function viewer_list.is_small(viewers)
  return redis.call("HLEN", viewers) <= MAX_SMALL_VIEWERS + MAX_OTHER_FIELDS
end

local function size_of(user, entry)
  return #user + #entry + ENTRY_OVERHEAD_BYTES
end

-- Appends those of the index that come after the arrival `after`, until there are `limit`
-- or `max_bytes` are full. Returns whether the index is right (otherwise it names a user
-- who is not there, and nothing is appended), and whether there are more viewers.
local function append_indexed(viewers, order, page, reply)
  local first_place, bytes = #reply, 0
  local first_rank = page.after > 0 and redis.call("ZCOUNT", order, "-inf", page.after) or 0
  local rank = first_rank
  while rank - first_rank < page.limit do
    local count = math.min(MAX_READ_ENTRIES, page.limit - (rank - first_rank))
    local users = redis.call("ZRANGE", order, rank, rank + count - 1)
    if #users == 0 then
      return true, false
    end
    for i, entry in ipairs(redis.call("HMGET", viewers, unpack(users))) do
      if not entry then
        for place = #reply, first_place + 1, -1 do
          reply[place] = nil
        end
        return false
      end
      bytes = bytes + size_of(users[i], entry)
      if bytes > page.max_bytes then
        return true, true
      end
      reply[#reply + 1], reply[#reply + 2] = users[i], entry
    end
    rank = rank + #users
  end
  return true, rank < redis.call("ZCARD", order)
end

-- Appends all that come after `after`, in any order; where they don't fit, the first ones.
-- Returns whether there are more.
local function append_unindexed(viewers, page, reply)
  local rows, bytes = {}, 0
  local stored = redis.call("HGETALL", viewers)
  for i = 1, #stored, 2 do
    local user, entry = stored[i], stored[i + 1]
    if viewer_list.is_user(user) and (page.after == 0 or arrival_of(entry) > page.after) then
      rows[#rows + 1] = { user, entry }
      bytes = bytes + size_of(user, entry)
    end
  end
  local is_cut = bytes > page.max_bytes
  if is_cut then
    table.sort(rows, function(a, b)
      return arrival_of(a[2]) < arrival_of(b[2])
    end)
  end
  bytes = 0
  for _, row in ipairs(rows) do
    bytes = bytes + size_of(row[1], row[2])
    if bytes > page.max_bytes then
      break
    end
    reply[#reply + 1], reply[#reply + 2] = row[1], row[2]
  end
  return is_cut
end

-- Appends to `reply`: the number of viewers, when the record was opened and since when its
-- saves are remembered (ms; "0" of an empty one), the texts of saves, claims and those who
-- wait, then user, entry, user, entry, ... Which of the viewers, says `page`:
--
--   after      those who arrived after this place; 0: from the first one
--   limit      so many (all of them where there is no index; the caller sorts and cuts)
--   max_bytes  as many as fit into an answer of so many bytes
--
-- Returns whether there are more viewers than were appended. Costs O(limit), however many
-- there are.
function viewer_list.append(viewers, order, page, reply)
  local meta, saves, claims, waiting, opened_ms =
    unpack(redis.call("HMGET", viewers, "#", "#saves", "#claims", "#waiting", "#opened"))
  local other_fields = (meta and 1 or 0) + (saves and 1 or 0) + (claims and 1 or 0)
  other_fields = other_fields + (waiting and 1 or 0) + (opened_ms and 1 or 0)
  local remembered_since_ms = meta and string.match(meta, "%d+$") or "0"
  local total = redis.call("HLEN", viewers) - other_fields
  reply[#reply + 1] = total
  reply[#reply + 1] = opened_ms or remembered_since_ms
  reply[#reply + 1] = remembered_since_ms
  reply[#reply + 1] = saves or ""
  reply[#reply + 1] = claims or ""
  reply[#reply + 1] = waiting or ""
  if total <= MAX_UNINDEXED_VIEWERS then
    return append_unindexed(viewers, page, reply)
  end
  if redis.call("ZCARD", order) == total then
    local is_right, is_cut = append_indexed(viewers, order, page, reply)
    if is_right then
      return is_cut
    end
  end
  rebuild_index(viewers, order)
  return select(2, append_indexed(viewers, order, page, reply))
end

local function by_arrival(a, b)
  return a.arrival < b.arrival
end

-- The next viewers of a record of many who arrived after this place, first arrival first:
-- rows of user, entry (JSON text) and arrival. None: there are no more.
function viewer_list.read_after(viewers, order, after)
  local rows = {}
  if redis.call("HLEN", viewers) <= MAX_UNINDEXED_VIEWERS then
    local stored = redis.call("HGETALL", viewers)
    for i = 1, #stored, 2 do
      local arrival = viewer_list.is_user(stored[i]) and arrival_of(stored[i + 1])
      if arrival and arrival > after then
        rows[#rows + 1] = { user = stored[i], entry = stored[i + 1], arrival = arrival }
      end
    end
    table.sort(rows, by_arrival)
    return rows
  end
  local first = string.format("(%.0f", after)
  for _ = 1, 2 do
    local found = redis.call("ZRANGEBYSCORE", order, first, "+inf", "LIMIT", 0, MAX_READ_AFTER)
    local is_right = #found > 0 or redis.call("EXISTS", order) == 1
    for i, entry in ipairs(#found > 0 and redis.call("HMGET", viewers, unpack(found)) or {}) do
      is_right = is_right and entry
      rows[i] = entry and { user = found[i], entry = entry, arrival = arrival_of(entry) }
    end
    if is_right then
      return rows
    end
    rows = {}
    rebuild_index(viewers, order)
  end
  return rows
end

local AGENT_PREFIX = '"agent\\u0020' -- of the JSON text of an agent's id; app/presence/codec.py has the same
local MAX_SUMMARIZED_USERS = 2000 -- whose entries are looked at: some ms
local MAX_SUMMARIZED_BYTES = 1000000 -- of these

-- Appends to `reply`: the number of viewers, how many of them are agents, when the record
-- was opened (ms), 1 where not everybody is named who edits or has unsaved changes, the
-- head of the entry of `user` ("" where there is none), then user, head, user, head, ...
-- of those who are. They have `max_bytes`, as an HTTP answer.
function viewer_list.summarize(viewers, user, max_bytes, reply)
  local total, agents, users = 0, 0, {}
  for _, name in ipairs(redis.call("HKEYS", viewers)) do
    if viewer_list.is_user(name) then
      total, users[#users + 1] = total + 1, name
      if string.sub(name, 1, #AGENT_PREFIX) == AGENT_PREFIX then
        agents = agents + 1
      end
    end
  end
  local meta, opened_ms = unpack(redis.call("HMGET", viewers, "#", "#opened"))
  local entry = user ~= "" and redis.call("HGET", viewers, user)
  reply[#reply + 1] = total
  reply[#reply + 1] = agents
  reply[#reply + 1] = opened_ms or meta and string.match(meta, "%d+$") or "0"
  reply[#reply + 1] = 0
  local is_cut_at = #reply
  reply[#reply + 1] = entry and head_of(entry) or ""
  local read_bytes, bytes, first = 0, 0, 1
  while first <= #users do
    local last = math.min(first + MAX_READ_ENTRIES - 1, #users)
    for i, text in ipairs(redis.call("HMGET", viewers, unpack(users, first, last))) do
      read_bytes = read_bytes + #text
      local head, editing, dirty = head_of(text)
      if editing > 0 or dirty > 0 then
        bytes = bytes + 2 * size_of(users[first + i - 1], head)
        if bytes > max_bytes then
          reply[is_cut_at] = 1
          return
        end
        reply[#reply + 1], reply[#reply + 2] = users[first + i - 1], head
      end
    end
    first = last + 1
    local is_enough = last >= MAX_SUMMARIZED_USERS or read_bytes > MAX_SUMMARIZED_BYTES
    if is_enough and first <= #users then
      reply[is_cut_at] = 1
      return
    end
  end
end

return viewer_list
