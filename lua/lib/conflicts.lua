-- lib.conflicts - Who saved which version of a record; and what else is beside the viewers in their hash.
--
-- Four fields of the viewers hash, so that they end with the record:
--
--   "#saves"    JSON array of rows, by lock_version
--               [lock_version, user, name, tab_id, saved_ms, field, ...]
--   "#claims"   see lib.claims
--   "#waiting"  the same
--   "#opened"   when the record was opened, ms; only once a save after it was forgotten.
--               Until then it is remembered_since_ms, in the meta (see lib.roster): all
--               saves since then are remembered
--
-- Versions and times are strings of digits: as numbers they would lose some.
local conflicts = {}

local MAX_SAVES = 50
local MAX_SAVES_BYTES = 32768 -- of "#saves"
local MAX_VERSION_STEP = 1000 -- that a viewer's save may be above all that are remembered
local MAX_ANNOUNCEMENT_DELAY_MS = 300000 -- for so long a host tries to tell of a save

local function decode(text)
  local is_json, rows = pcall(cjson.decode, text or "[]")
  return is_json and type(rows) == "table" and rows or {}
end

-- Read them into the record, once. To be called before the viewers hash is removed.
function conflicts.load(record)
  if not record.saves then
    local texts = redis.call("HMGET", record.viewers, "#saves", "#claims", "#waiting", "#opened")
    record.saves, record.claims, record.waiting = decode(texts[1]), decode(texts[2]), decode(texts[3])
    record.opened_ms = tonumber(texts[4] or nil)
  end
end

-- A save of `saved_ms` or before is remembered no longer; the record stays open.
local function forget_saves_until(record, saved_ms)
  if saved_ms > record.remembered_since_ms then
    record.opened_ms = record.opened_ms or record.remembered_since_ms
    record.remembered_since_ms, record.is_modified = saved_ms, true
  end
end

local function write_opened(record)
  if record.opened_ms then
    redis.call("HSET", record.viewers, "#opened", string.format("%d", record.opened_ms))
  end
end

-- Versions are digits without leading zeros: the longer one is the greater.
local function is_before(version, other)
  if #version ~= #other then
    return #version < #other
  end
  return version < other
end

-- The JSON text of the rows, the oldest versions forgotten where there are too many or
-- they are too large. No save after `record.remembered_since_ms` may be missing.
local function encode_saves(record)
  local saves, texts, bytes = record.saves, {}, 1
  for i, row in ipairs(saves) do
    texts[i] = cjson.encode(row)
    bytes = bytes + #texts[i] + 1 -- with a bracket or a comma
  end
  while #saves > MAX_SAVES or (bytes > MAX_SAVES_BYTES and #saves > 0) do
    bytes = bytes - #table.remove(texts, 1) - 1
    local forgotten = table.remove(saves, 1)
    forget_saves_until(record, tonumber(forgotten[5]))
  end
  return "[" .. table.concat(texts, ",") .. "]"
end

local function set_saves(record, row, is_cut)
  if is_cut then
    forget_saves_until(record, record.now_ms)
  end
  local text = encode_saves(record)
  record.saved_row, record.is_modified = row, true
  -- At once: a full Redis refuses a script by its first write.
  if record.meta then
    redis.call("HSET", record.viewers, "#saves", text)
    write_opened(record)
  end
end

-- Leave out the fields of a row that is too large by itself; true when there were any.
-- Whoever has loaded the record before that save must then look at the record.
local function cut_fields(row)
  local bytes = 2
  for i, value in ipairs(row) do
    bytes = bytes + #cjson.encode(value) + 1
    if bytes > MAX_SAVES_BYTES - 2 then -- the brackets of the list
      for last = #row, i, -1 do
        row[last] = nil
      end
      return true
    end
  end
  return false
end

-- Where a version stands among the saves, or has its place; and its row, if there is one.
local function find_version(saves, version)
  local place = #saves + 1
  while place > 1 and not is_before(saves[place - 1][1], version) do
    place = place - 1
  end
  local known = saves[place]
  return place, known and known[1] == version and known or nil
end

-- Whether two rows tell the same, but for the time.
local function is_same_save(row, other)
  for i = 1, math.max(#row, #other) do
    if i ~= 5 and row[i] ~= other[i] then
      return false
    end
  end
  return true
end

-- Remember what a viewer says that they have saved. Returns what came of it:
--
--   "NEW"        it is remembered, and to be told
--   "REPEATED"   this tab has told of it already
--   "KNOWN"      somebody else has told of this version; their word stands
--   "FORGOTTEN"  it is older than all that are remembered; whether it was told before
--                cannot be known any more, so it is not told
--   "TOO_FAR"    no record gets that many versions unnoticed
function conflicts.add_save_of_viewer(record, row)
  conflicts.load(record)
  local saves = record.saves
  local last = saves[#saves]
  if last and tonumber(row[1]) - tonumber(last[1]) > MAX_VERSION_STEP then
    return "TOO_FAR"
  end
  local is_cut = cut_fields(row)
  local place, known = find_version(saves, row[1])
  if known then
    return known[2] == row[2] and known[4] == row[4] and "REPEATED" or "KNOWN"
  end
  if place == 1 and #saves >= MAX_SAVES then
    forget_saves_until(record, record.now_ms)
    write_opened(record)
    return "FORGOTTEN"
  end
  table.insert(saves, place, row)
  set_saves(record, row, is_cut)
  return "NEW"
end

-- Whether this save and the one after it were told in the wrong order, as two
-- processes of a host may tell of them.
local function is_overtaken(record, row, next_row)
  return tonumber(next_row[1]) == tonumber(row[1]) + 1
    and record.now_ms - tonumber(next_row[5]) <= MAX_ANNOUNCEMENT_DELAY_MS
end

-- Whether the host tells of a save once more, because it got no answer. The same save long
-- after it, when higher versions have been told, was made after a backup was restored.
local function is_repeated(record, known, row, is_highest)
  return is_same_save(known, row)
    and (is_highest or record.now_ms - tonumber(known[5]) <= MAX_ANNOUNCEMENT_DELAY_MS)
end

-- Remember what the host itself says was saved: "NEW", "REPEATED" or "FORGOTTEN".
--
-- Its word wins: over what a viewer said of the same version, and over all higher
-- versions, which are then of before a backup was restored, or were never saved.
function conflicts.add_save_of_host(record, row)
  conflicts.load(record)
  local saves = record.saves
  local place, known = find_version(saves, row[1])
  if known and row[4] == "" and known[2] == row[2] then
    row[4] = known[4] -- the host knows no tab; the user's own page has said which
  end
  local is_cut = cut_fields(row)
  if known and is_repeated(record, known, row, place == #saves) then
    return "REPEATED"
  end
  local next_row = saves[place]
  if next_row and not known and is_overtaken(record, row, next_row) then
    if place == 1 and #saves >= MAX_SAVES then
      forget_saves_until(record, record.now_ms)
      write_opened(record)
      return "FORGOTTEN"
    end
    table.insert(saves, place, row)
  else
    record.are_saves_replaced = next_row ~= nil
    for last = #saves, place, -1 do
      if last > place or not known then
        forget_saves_until(record, record.now_ms)
      end
      saves[last] = nil
    end
    saves[place] = row
  end
  set_saves(record, row, is_cut)
  return "NEW"
end

-- Write the saves into a viewers hash that was made anew.
function conflicts.write_saves(record)
  if #record.saves > 0 then
    redis.call("HSET", record.viewers, "#saves", encode_saves(record))
  end
  write_opened(record)
end

return conflicts
