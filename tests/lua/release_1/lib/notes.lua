-- lib.notes - What a record's viewers are told besides who is there: saves and claims.
--
-- Two fields of the viewers hash, so that they end with the record:
--
--   "#saves"   JSON array of rows, by lock_version
--              [lock_version, user, name, tab_id, saved_ms, field, ...]
--   "#claims"  JSON array of rows, in the order in which they were made
--              [field, tab_id, user, name, since_ms, from_user?, from_name?]
--
-- Versions and times are strings of digits: as numbers they would lose some.
-- A row is written once and never changed; a claim lasts as long as its tab.
local notes = { SAVES = "#saves", CLAIMS = "#claims" }

local MOST_SAVES = 50
local MOST_CLAIMS = 100

local function decode(text)
  local is_json, rows = pcall(cjson.decode, text or "[]")
  return is_json and type(rows) == "table" and rows or {}
end

-- Take the notes into the room, before the viewers are counted anew or written to.
function notes.load(room)
  if not room.saves then
    local texts = redis.call("HMGET", room.viewers, notes.SAVES, notes.CLAIMS)
    room.saves, room.claims = decode(texts[1]), decode(texts[2])
  end
end

local function write_field(room, field, rows)
  if #rows > 0 then
    redis.call("HSET", room.viewers, field, cjson.encode(rows))
  else
    redis.call("HDEL", room.viewers, field)
  end
end

-- Versions are digits without leading zeros: the longer one is the greater.
local function is_before(version, other)
  if #version ~= #other then
    return #version < #other
  end
  return version < other
end

-- Remember a save; false when this version is known already (the call was
-- sent again, or both the page and its server tell of it), or too old: nobody
-- is told then, but whether it was told before nobody knows any more.
function notes.save(room, row)
  notes.load(room)
  local place = #room.saves + 1
  while place > 1 and not is_before(room.saves[place - 1][1], row[1]) do
    place = place - 1
    if room.saves[place][1] == row[1] then
      return false
    end
  end
  if place == 1 and #room.saves >= MOST_SAVES then
    room.opened_ms, room.has_forgotten = room.now_ms, true
    return false
  end
  table.insert(room.saves, place, row)
  if #room.saves > MOST_SAVES then
    local forgotten = table.remove(room.saves, 1)
    room.opened_ms = math.max(room.opened_ms, tonumber(forgotten[5]))
  end
  room.saved = row
  -- At once: a full Redis refuses a script by its first write.
  if room.meta then
    write_field(room, notes.SAVES, room.saves)
  end
  return true
end

local function put_claims(room, claims)
  room.claims, room.claims_changed = claims, true
  if room.meta then
    write_field(room, notes.CLAIMS, claims)
  end
end

-- The claim on a field; nil when there is none.
function notes.claim_on(room, field)
  notes.load(room)
  for place, row in ipairs(room.claims) do
    if row[1] == field then
      return row, place
    end
  end
end

-- The claims whose tabs are live. The others have ended, and the timeline is told.
local function live_claims(room)
  local live = {}
  for _, row in ipairs(room.claims) do
    local is_hers = row[2] ~= room.put_tab or row[3] == room.put_user
    local lease_end = is_hers and redis.call("ZSCORE", room.seen, row[2])
    if lease_end and tonumber(lease_end) > room.now_ms then
      live[#live + 1] = row
    else
      room.entries[#room.entries + 1] = { "released", row[3], row[4], row[2], row[1] }
    end
  end
  return live
end

-- Give the row's field to its tab. False when the record has too many claims.
function notes.claim(room, row)
  local _, place = notes.claim_on(room, row[1])
  if not place and #room.claims >= MOST_CLAIMS then
    -- Some of them may belong to tabs that nobody has swept yet.
    room.claims = live_claims(room)
    if #room.claims >= MOST_CLAIMS then
      return false
    end
  end
  room.claims[place or #room.claims + 1] = row
  put_claims(room, room.claims)
  return true
end

function notes.release(room, field)
  local _, place = notes.claim_on(room, field)
  table.remove(room.claims, place)
  put_claims(room, room.claims)
end

-- End the claims of tabs that are gone.
function notes.settle(room)
  notes.load(room)
  local live = live_claims(room)
  if #live < #room.claims then
    put_claims(room, live)
  end
end

-- Write them to viewers that were made anew.
function notes.restore(room)
  notes.load(room)
  if #room.saves > 0 then
    write_field(room, notes.SAVES, room.saves)
  end
  if #room.claims > 0 then
    write_field(room, notes.CLAIMS, room.claims)
  end
end

return notes
