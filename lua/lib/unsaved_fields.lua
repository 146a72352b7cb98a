-- lib.unsaved_fields - Who has unsaved changes in a field, however many viewers there are.
--
-- Of few viewers, all entries are looked at; of many, an index says it, see lib.unsaved_index.
local batches = require("lib.batches")
local unsaved_index = require("lib.unsaved_index")
local viewer_list = require("lib.viewer_list")

local unsaved_fields = {}

local ALL_FIELDS = "*"
local MAX_NAMED_VIEWERS = 100 -- and for each field the first one
local MAX_BRIEF_BYTES = 512 -- of an entry that is returned as it is
local MAX_READ_AT_ONCE = 400 -- members of the index; more than a user may have (lib.viewer_budget)
local AFTER_MARK = "\11" -- behind all that have unsaved_index.MARK

-- Whether an entry (JSON text) has any, without decoding it: only their list ends it so.
local function has_dirty_names(entry)
  return string.sub(entry, -2) == "]]"
end

-- Call `visit(name, user)` for each field that any user has unsaved.
local function each_of_all(viewers, visit)
  local stored = redis.call("HGETALL", viewers)
  for i = 1, #stored, 2 do
    if viewer_list.is_user(stored[i]) and has_dirty_names(stored[i + 1]) then
      for name in pairs(unsaved_index.dirty_names(cjson.decode(stored[i + 1]))) do
        visit(name, stored[i])
      end
    end
  end
end

local function rebuild(viewers, unsaved, version)
  local members = { 0, unsaved_index.MARK .. version }
  each_of_all(viewers, function(name, user)
    members[#members + 1], members[#members + 2] = 0, name .. unsaved_index.MARK .. user
  end)
  redis.call("DEL", unsaved)
  batches.each(members, function(_, ...)
    redis.call("ZADD", unsaved, ...)
  end)
  redis.call("PEXPIRE", unsaved, redis.call("PTTL", viewers))
end

local function visit_members(members, visit)
  for _, member in ipairs(members) do
    visit(string.match(member, "^([^\n]*)\n(.*)$"))
  end
end

-- Call `visit(name, user)` with those of the index whose fields are `wanted`, and `visit_any`
-- where all are; where they are too many, with the first of each field, and
-- `set_total(name, count)` with how many there are in all.
local function each_indexed(unsaved, wanted, visit, visit_any, set_total)
  local is_short = redis.call("ZCARD", unsaved) <= MAX_READ_AT_ONCE
  if is_short or wanted[ALL_FIELDS] then
    -- Of all fields, these are enough to tell whether anybody has one: nobody alone has as many.
    local members = redis.call("ZRANGE", unsaved, 1, MAX_READ_AT_ONCE)
    visit_members(members, is_short and visit or visit_any)
  end
  if is_short then
    return
  end
  for name in pairs(wanted) do
    local first, last = "[" .. name .. unsaved_index.MARK, "(" .. name .. AFTER_MARK
    local members = redis.call("ZRANGEBYLEX", unsaved, first, last, "LIMIT", 0, MAX_NAMED_VIEWERS)
    visit_members(members, visit)
    if #members == MAX_NAMED_VIEWERS then
      set_total(name, redis.call("ZLEXCOUNT", unsaved, first, last))
    end
  end
end

-- Whether a tab of the asker other than their own has the field unsaved.
local function is_held(viewers, own, name)
  if not own.fields then
    return false
  end
  if not own.counts then
    local entry = redis.call("HGET", viewers, own.user) or "[]"
    own.counts = unsaved_index.dirty_names(cjson.decode(entry))
  end
  return (own.counts[name] or 0) > (own.fields[name] and 1 or 0)
end

-- What of an entry says who it is: without the fields, where they are many.
local function brief(entry)
  if #entry <= MAX_BRIEF_BYTES then
    return entry
  end
  local packed = cjson.decode(entry)
  local first = { packed[1], packed[2], packed[3], packed[4], packed[5] }
  if packed[6] == "" then
    first[6], first[7] = "", packed[7]
  end
  return cjson.encode(first)
end

-- The first holders of each field, and the others as far as there is room: JSON object, name ->
-- [how many there are, place, ...], "" for none; and at those places user, entry, user, entry, ...
local function name_holders(viewers, names, holders, totals)
  local users, places, named = {}, {}, {}
  for _, name in ipairs(names) do
    local of_name = holders[name]
    if of_name then
      local user = of_name[1]
      if not places[user] then
        users[#users + 1] = user
        places[user] = #users
      end
      named[name] = { totals[name] or #of_name, places[user] }
    end
  end
  if #users == 0 then
    return "", {}
  end
  for name, row in pairs(named) do
    for i = 2, #holders[name] do
      local user = holders[name][i]
      if not places[user] and #users < MAX_NAMED_VIEWERS then
        users[#users + 1] = user
        places[user] = #users
      end
      row[#row + 1] = places[user]
    end
  end
  local rows = {}
  batches.each(users, function(first, ...)
    for i, entry in ipairs(redis.call("HMGET", viewers, ...)) do
      rows[#rows + 1], rows[#rows + 2] = users[first + i - 1], brief(entry)
    end
  end)
  return cjson.encode(named), rows
end

-- Who has unsaved changes in these fields, "*" being all of them, at this version of the
-- record. `own` is the asker: a `user` (JSON text of the id; "" for none), and the `fields`
-- that their tab has unsaved, name -> true, which are not held against them; without
-- `fields`, nothing of that user is.
--
-- Returns the holders as `name_holders` does. Which fields have any is exact; of a field with
-- very many, not all are named. Costs O(names + holders), at most some hundred of them; of
-- few viewers O(viewers), and once where there is no index.
function unsaved_fields.find(viewers, unsaved, version, names, own)
  local wanted, holders, totals, holds_any = {}, {}, {}, {}
  for _, name in ipairs(names) do
    wanted[name] = true
  end
  local is_any_wanted = wanted[ALL_FIELDS]
  local function add(name, user)
    local users = holders[name]
    if users then
      users[#users + 1] = user
    else
      holders[name] = { user }
    end
  end
  local function visit_any(name, user)
    if not holds_any[user] and (user ~= own.user or is_held(viewers, own, name)) then
      holds_any[user] = true
      add(ALL_FIELDS, user)
    end
  end
  local function visit(name, user)
    if wanted[name] and name ~= ALL_FIELDS and (user ~= own.user or is_held(viewers, own, name)) then
      add(name, user)
    end
    if is_any_wanted then
      visit_any(name, user)
    end
  end
  if not viewer_list.needs_index(viewers) then
    each_of_all(viewers, visit)
    return name_holders(viewers, names, holders, totals)
  end
  if redis.call("ZRANGE", unsaved, 0, 0)[1] ~= unsaved_index.MARK .. version then
    rebuild(viewers, unsaved, version)
  end
  each_indexed(unsaved, wanted, visit, visit_any, function(name, total)
    local is_own = own.user ~= "" and redis.call("ZSCORE", unsaved, name .. unsaved_index.MARK .. own.user)
    totals[name] = is_own and not is_held(viewers, own, name) and total - 1 or total
  end)
  return name_holders(viewers, names, holders, totals)
end

return unsaved_fields
