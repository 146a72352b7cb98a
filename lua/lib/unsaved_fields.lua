-- lib.unsaved_fields - Who has unsaved changes in a field, however many viewers there are.
--
-- Of few viewers, all entries are looked at; of many, an index says it, see lib.unsaved_index.
local unsaved_index = require("lib.unsaved_index")
local viewer_list = require("lib.viewer_list")

local unsaved_fields = {}

local ALL_FIELDS = "*"
local MAX_NAMED_VIEWERS = 100 -- and for each field the first one
local MAX_BRIEF_BYTES = 512 -- of an entry that is returned as it is
local MAX_READ_IN_ALL = 1000 -- members of the index, however many fields are asked for; of each two at least
local MAX_READ_AT_ONCE = 400 -- members of the index; more than a user may have (lib.viewer_budget)
local AFTER_MARK = "\11" -- behind all that have unsaved_index.MARK

-- Call `visit(name, user)` for each field that any user has unsaved.
local function each_of_all(viewers, visit)
  local stored = redis.call("HGETALL", viewers)
  for i = 1, #stored, 2 do
    if viewer_list.is_user(stored[i]) and unsaved_index.has_dirty_names(stored[i + 1]) then
      for name in pairs(unsaved_index.dirty_names(cjson.decode(stored[i + 1]))) do
        visit(name, stored[i])
      end
    end
  end
end

-- Call `visit(name, user)` for those members of the index whose fields are `wanted`; nil: for all.
local function visit_members(members, wanted, visit)
  local find, sub = string.find, string.sub
  for i = 1, #members do
    local member = members[i]
    local at = find(member, unsaved_index.MARK, 1, true)
    local name = sub(member, 1, at - 1)
    if not wanted or wanted[name] then
      visit(name, sub(member, at + 1))
    end
  end
end

-- Call `visit(name, user)` with those of the index whose fields are `wanted`, and `visit_any`
-- where all are; where they are too many, with the first of each field, and
-- `set_total(name, count)` with how many there are in all.
local function each_indexed(unsaved, wanted, name_count, visit, visit_any, set_total)
  local is_short = redis.call("ZCARD", unsaved) <= MAX_READ_AT_ONCE
  if is_short or wanted[ALL_FIELDS] then
    -- Of all fields, these are enough to tell whether anybody has one: nobody alone has as many.
    local members = redis.call("ZRANGE", unsaved, 1, MAX_READ_AT_ONCE)
    visit_members(members, not wanted[ALL_FIELDS] and wanted or nil, is_short and visit or visit_any)
  end
  if is_short then
    return
  end
  local limit = math.max(2, math.min(MAX_NAMED_VIEWERS, math.floor(MAX_READ_IN_ALL / name_count)))
  for name in pairs(wanted) do
    local first, last = "[" .. name .. unsaved_index.MARK, "(" .. name .. AFTER_MARK
    local members = redis.call("ZRANGEBYLEX", unsaved, first, last, "LIMIT", 0, limit)
    visit_members(members, wanted, visit)
    if #members == limit then
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

-- Append the first holders of each field, and the others as far as there is room, in the form
-- of `unsaved_fields.append`. `holders` are a user or a list of users by name; `totals` are
-- the counts of those names of which not all are listed.
local function append_holders(reply, viewers, names, holders, totals)
  local users, places, texts = {}, {}, {}
  local function place_of(user)
    local place = places[user]
    if not place then
      place = #users + 1
      users[place], places[user] = user, place
    end
    return place
  end
  for i, name in ipairs(names) do
    local held = holders[name]
    if not held then
      texts[i] = ""
    elseif type(held) == "string" then
      texts[i] = (totals[name] or 1) .. " " .. place_of(held)
    else
      texts[i] = { totals[name] or #held, place_of(held[1]) }
    end
  end
  if #users == 0 then
    reply[#reply + 1] = ""
    return
  end
  for i, name in ipairs(names) do
    if type(texts[i]) == "table" then
      local held, row = holders[name], texts[i]
      for k = 2, #held do
        if places[held[k]] or #users < MAX_NAMED_VIEWERS then
          row[#row + 1] = place_of(held[k])
        end
      end
      texts[i] = table.concat(row, " ")
    end
  end
  reply[#reply + 1] = table.concat(texts, ",")
  local last = #reply
  local entries = redis.call("HMGET", viewers, unpack(users))
  for i = 1, #users do
    reply[last + 1], reply[last + 2] = users[i], brief(entries[i])
    last = last + 2
  end
end

-- See to it that `append` costs little. Returns whether it does: otherwise only a part of the
-- index has been made, and a script that has not yet changed anything returns INDEX_FIRST, so
-- that others have their turn before it is called again.
function unsaved_fields.prepare(viewers, order, unsaved, version)
  return viewer_list.is_small(viewers) or unsaved_index.build(viewers, order, unsaved, version)
end

-- Append to `reply` who has unsaved changes in these fields, "*" being all of them, at this
-- version of the record. `own` is the asker: a `user` (JSON text of the id; "" for none), and
-- the `fields` that their tab has unsaved, name -> true, which are not held against them;
-- without `fields`, nothing of that user is.
--
-- Appended are "" where nobody has any; otherwise for each of `names`, with commas in between,
-- how many have it and the places of those that are named, "2 1 7", or nothing for none; and of
-- these places user, entry, user, entry, ... Which fields have any is exact; of a field with
-- very many, not all are named. Costs O(names + holders), at most some hundred of them; of
-- few viewers O(viewers); without `prepare`, of many as well.
function unsaved_fields.append(reply, viewers, order, unsaved, version, names, own)
  local wanted, holders, totals, holds_any = {}, {}, {}, {}
  for _, name in ipairs(names) do
    wanted[name] = true
  end
  local is_any_wanted = wanted[ALL_FIELDS]
  local function add(name, user)
    local held = holders[name]
    if not held then
      holders[name] = user -- no list: nearly all fields have one
    elseif type(held) == "table" then
      held[#held + 1] = user
    else
      holders[name] = { held, user }
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
  if viewer_list.is_small(viewers) then
    each_of_all(viewers, visit)
    append_holders(reply, viewers, names, holders, totals)
    return
  end
  repeat
    local is_complete = unsaved_index.build(viewers, order, unsaved, version)
  until is_complete
  each_indexed(unsaved, wanted, #names, visit, visit_any, function(name, total)
    local is_own = own.user ~= "" and redis.call("ZSCORE", unsaved, name .. unsaved_index.MARK .. own.user)
    totals[name] = is_own and not is_held(viewers, own, name) and total - 1 or total
  end)
  append_holders(reply, viewers, names, holders, totals)
end

return unsaved_fields
