-- lib.tab_state - What a tab is doing, as its heartbeat says it.
--
-- The JSON array [user, name, flags?, active_field?, extras?]:
--
--   user    JSON text of the user's id (42, or "u-7" with its quotes): as text it
--           keeps its type and all its digits, which a Lua number would not
--   flags   1 edits, plus 2 has unsaved changes
--   extras  object; read here are `dirty_fields`; `hidden` (true of a tab that is not
--           on the screen) and `active` (a boolean, where it is not the opposite of
--           `hidden`): the tab is away unless it is active; `profile`, a digest of the
--           profile that its user's entry has, see lib.viewer_entries; and `unlogged` (true
--           of a tab of which the timeline does not tell, so not of its end either)
--
-- Any other system may write to the hash of tabs. A state that is none of ours
-- counts as no state at all: it must not break the record for everybody.
local tab_state = {}

-- The JSON text of an integer or of a string. With any other id the list of
-- viewers could not be read.
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

-- The strings of a list; none where it is no list.
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

-- Whether nobody looks at the tab.
local function is_away(extras)
  if type(extras.active) == "boolean" then
    return not extras.active
  end
  return extras.hidden == true
end

-- nil for what is no state, and where there is none (`text` is false or nil).
function tab_state.decode(text)
  if not text then
    return nil
  end
  local is_json, state = pcall(cjson.decode, text)
  if not is_json or type(state) ~= "table" then
    return nil
  end
  local user, name, flags, active_field = state[1], state[2], state[3] or 0, state[4] or ""
  local extras = type(state[5]) == "table" and state[5] or {}
  if
    not is_user(user)
    or type(name) ~= "string"
    or (flags ~= 0 and flags ~= 1 and flags ~= 2 and flags ~= 3)
    or type(active_field) ~= "string"
  then
    return nil
  end
  return {
    user = user,
    name = name,
    is_editing = flags % 2 == 1,
    is_dirty = flags >= 2,
    is_away = is_away(extras),
    active_field = active_field ~= "" and active_field or nil,
    dirty_fields = names_in(extras.dirty_fields),
    is_unlogged = extras.unlogged == true,
    profile = type(extras.profile) == "string" and extras.profile or nil,
  }
end

-- A string as Python writes it: cjson also escapes slashes, which adds a byte to each.
local function encode_string(text)
  return (string.gsub(cjson.encode(text), "\\/", "/"))
end

local function encode_extras(extras, dirty_fields, left_out)
  local members = {}
  for name, value in pairs(extras) do
    if name ~= "dirty_fields" and name ~= left_out then
      members[#members + 1] = encode_string(name) .. ":" .. cjson.encode(value)
    end
  end
  table.sort(members) -- one state, one text
  if #dirty_fields > 0 then
    local names = {}
    for i, name in ipairs(dirty_fields) do
      names[i] = encode_string(name)
    end
    members[#members + 1] = '"dirty_fields":[' .. table.concat(names, ",") .. "]"
  end
  return "{" .. table.concat(members, ",") .. "}"
end

-- The text of a state with these fields in the place of its own; `active_field` may be
-- nil. Like Python, it leaves out defaults at the end, so that a tab that sends just
-- these fields takes the fast path. `left_out` is the name of an extra to leave out.
function tab_state.replace_fields(text, active_field, dirty_fields, left_out)
  local state = cjson.decode(text)
  local items = {
    encode_string(state[1]),
    encode_string(state[2]),
    string.format("%d", state[3] or 0),
    encode_string(active_field or ""),
    encode_extras(type(state[5]) == "table" and state[5] or {}, dirty_fields, left_out),
  }
  local defaults = { [3] = "0", [4] = '""', [5] = "{}" }
  for i = 5, 3, -1 do
    if items[i] ~= defaults[i] then
      break
    end
    items[i] = nil
  end
  return "[" .. table.concat(items, ",") .. "]"
end

return tab_state
