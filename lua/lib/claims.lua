-- lib.claims - Which tab works on which field, and who waits for it.
--
-- Two fields of the viewers hash, which lib.conflicts loads:
--
--   "#claims"   JSON array of rows, in the order in which they were made
--               [field, tab_id, user, name, since_ms, from_user?, from_name?]
--   "#waiting"  JSON array of rows, in the order in which they asked
--               [field, tab_id, user, name, since_ms, idle_ms, holder_tab_id, passes_at_ms]
--
-- `since_ms` with a leading zero: its user took the field back from the one who had taken
-- it; with two, the field was not taken, but passed on to the one who waited for it.
-- `idle_ms`: how long the holder may be away before the field is passed on.
-- `passes_at_ms`: when that is; "" unless the tab `holder_tab_id` is in the way, and away.
--
-- What is true whenever a script that sweeps the record returns:
--   1. The field "*" is the whole record: it overlaps with every field. Two claims that
--      overlap are of the same tab; no field is claimed twice.
--   2. A claim belongs to a live tab. Who waits has a live tab that edits.
--   3. Everyone who waits waits for a claim: the oldest that overlaps with theirs, and is
--      of another tab. It is "in the way". Where it ends, however it does, the same
--      script gives the field to the first who waits and whom nothing else is in the way of.
--   4. Who waits for "*" holds nobody up: a field that is free is given to who asks for it.
--   5. `passes_at_ms` is set exactly while none of the holder's tabs is active. Once it is
--      over, the next script ends all claims of that tab that are in the way. It is noticed
--      as the end of a lease is: the meta's no_expiry_before_s is no later, nor is the time
--      that streams are told; so a heartbeat that changes nothing costs what it always did.
--   6. What is too much is refused, or taken from the user who has most of it.
local conflicts = require("lib.conflicts")
local tab_state = require("lib.tab_state")
local viewer_entries = require("lib.viewer_entries")

local claims = {}

local WHOLE_RECORD = "*"
-- The same constants, with the same values, are in app/presence/limits.py.
local MAX_CLAIMS = 100
local MAX_CLAIMS_PER_USER = 20
local TAKE_OVER_INTERVAL_MS = 5000 -- between two take-overs of a field
local MAX_WAITING = 100 -- rows of a record,
local MAX_WAITING_BYTES = 32768 -- and their bytes
local MAX_WAITING_PER_USER = 20
local MAX_WAITING_BYTES_PER_USER = 8192
local ROW_GROWTH_BYTES = 150 -- of a row that waits: what is written into it later

local function overlap(field, other)
  return field == other or field == WHOLE_RECORD or other == WHOLE_RECORD
end

-- A full Redis refuses a script by its first write, unless that is a removal.
local function begin_with_removal(record)
  if not record.is_modified then
    redis.call("ZREM", record.seen, "")
  end
end

local function write_claims(record)
  if #record.claims > 0 then
    redis.call("HSET", record.viewers, "#claims", cjson.encode(record.claims))
  else
    redis.call("HDEL", record.viewers, "#claims")
  end
end

local function write_waiting(record)
  if #record.waiting > 0 then
    redis.call("HSET", record.viewers, "#waiting", cjson.encode(record.waiting))
  else
    redis.call("HDEL", record.viewers, "#waiting")
  end
end

local function set_claims(record, rows)
  record.claims, record.are_claims_changed, record.is_modified = rows, true, true
  if record.meta then
    write_claims(record)
  end
end

local function set_waiting(record, rows)
  record.waiting, record.are_claims_changed, record.is_modified = rows, true, true
  record.has_queue = true
  if record.meta then
    write_waiting(record)
  end
end

-- A tab id may have passed to another user, who inherits nothing.
local function is_of_same_user(record, row)
  return row[2] ~= record.put_tab_id or row[3] == record.put_user
end

-- Whether the tab of a row is there. Nobody may have swept it yet.
local function is_live(record, row)
  local lease_end = is_of_same_user(record, row) and redis.call("ZSCORE", record.seen, row[2])
  return lease_end and tonumber(lease_end) > record.now_ms
end

-- Write what happened into the timeline, behind what the call itself did.
local function log(record, entry)
  local entries = record.timeline_entries
  if record.action_entry then
    entries[#entries + 1], record.action_entry = record.action_entry, nil
  end
  entries[#entries + 1] = entry
end

-- A claim has ended, and whoever waits for it is to know whose it was.
local function note_end(record, row)
  record.ended_claims[#record.ended_claims + 1] = row
end

local function log_end(record, row)
  note_end(record, row)
  log(record, { "released", row[3], row[4], row[2], row[1] })
end

-- The claims whose tabs are live, and the others, which have ended.
local function split_live(record, rows)
  local live, gone = {}, {}
  for _, row in ipairs(rows) do
    local list = is_live(record, row) and live or gone
    list[#list + 1] = row
  end
  return live, gone
end

-- The tab's claim on this very field; nil when there is none.
function claims.find_own(record, field, tab_id)
  conflicts.load(record)
  for _, row in ipairs(record.claims) do
    if row[1] == field and row[2] == tab_id then
      return row
    end
  end
end

-- The claims of other tabs that overlap with the field, the oldest first.
function claims.find_in_way(record, field, tab_id)
  conflicts.load(record)
  local found = {}
  for _, row in ipairs(record.claims) do
    if row[2] ~= tab_id and overlap(row[1], field) and is_live(record, row) then
      found[#found + 1] = row
    end
  end
  return found
end

-- Whether the field was taken over a moment ago, so that this user has to wait before
-- they may take it over. Whoever it was taken from may take it back at once, but once.
function claims.is_taken_recently(record, row, user)
  local age_ms = record.now_ms - tonumber(row[5])
  local may_take_back = row[6] == user and string.sub(row[5], 1, 1) ~= "0"
  return row[6] ~= nil and not may_take_back and age_ms >= 0 and age_ms < TAKE_OVER_INTERVAL_MS
end

-- The row of a claim that is made now; `taken` is the claim from which it is taken over.
function claims.new_claim(record, field, tab_id, user, name, taken)
  local row = { field, tab_id, user, name, string.format("%d", record.now_ms) }
  if taken then
    row[6], row[7] = taken[3], taken[4]
    if taken[6] == user and record.now_ms - tonumber(taken[5]) < TAKE_OVER_INTERVAL_MS then
      row[5] = "0" .. row[5]
    end
  end
  return row
end

-- How many claims each user has, and the user who has most.
local function count_claims(rows)
  local counts, greatest = {}, nil
  for _, row in ipairs(rows) do
    local user = row[3]
    counts[user] = (counts[user] or 0) + 1
    if not greatest or counts[user] > counts[greatest] then
      greatest = user
    end
  end
  return counts, greatest
end

-- Let the user who has most claims lose the oldest of them, for one who has fewer: it comes
-- to those that have `gone`.
local function make_room(rows, user, gone)
  local counts, greatest = count_claims(rows)
  if (counts[user] or 0) >= counts[greatest] then
    return false
  end
  for place, row in ipairs(rows) do
    if row[3] == greatest then
      gone[#gone + 1] = table.remove(rows, place)
      return true
    end
  end
end

-- The claims beside which there is room for this row: without those that it takes the
-- place of. And that place, if there are any.
local function without_overlapping(rows, row)
  local kept, place, ended = {}, nil, {}
  for _, claim in ipairs(rows) do
    if overlap(claim[1], row[1]) and (claim[2] ~= row[2] or claim[1] == row[1]) then
      place = place or #kept + 1
      ended[#ended + 1] = claim
    else
      kept[#kept + 1] = claim
    end
  end
  return kept, place, ended
end

local function has_room(rows, row, place)
  local count = count_claims(rows)[row[3]] or 0
  return count < MAX_CLAIMS_PER_USER and (place or #rows < MAX_CLAIMS)
end

-- Give the row's field to its tab; what other tabs have of it ends. False, and nothing has
-- changed, when its user has too many claims. When the record has too many, the user with
-- most of them loses one: a colleague can always claim.
function claims.add(record, row)
  local gone = {}
  local rows, place, ended = without_overlapping(record.claims, row)
  if not has_room(rows, row, place) then
    -- Some of them may belong to tabs that have expired and are not swept yet.
    local live
    live, gone = split_live(record, record.claims)
    rows, place, ended = without_overlapping(live, row)
    if (count_claims(rows)[row[3]] or 0) >= MAX_CLAIMS_PER_USER then
      return false
    end
    while not place and #rows >= MAX_CLAIMS do
      if not make_room(rows, row[3], gone) then
        return false
      end
    end
  end
  for _, claim in ipairs(gone) do
    log_end(record, claim)
  end
  for i, claim in ipairs(ended) do
    note_end(record, claim)
    if i > 1 then -- the first one is told by the claim itself
      log(record, { "released", claim[3], claim[4], claim[2], claim[1] })
    end
  end
  table.insert(rows, math.min(place or #rows + 1, #rows + 1), row)
  set_claims(record, rows)
  return true
end

-- End the tab's claim on a field; there must be one.
function claims.release(record, own)
  begin_with_removal(record)
  local rows = {}
  for _, row in ipairs(record.claims) do
    if row ~= own then
      rows[#rows + 1] = row
    end
  end
  note_end(record, own)
  set_claims(record, rows)
end

-- End the claims of tabs that are gone.
function claims.release_claims_of_gone_tabs(record)
  conflicts.load(record)
  local live, gone = split_live(record, record.claims)
  if #gone > 0 then
    for _, row in ipairs(gone) do
      log_end(record, row)
    end
    set_claims(record, live)
  end
end

-- How many rows and bytes wait, in all and by user; and the user who has most rows.
local function measure(rows)
  local bytes, by_user, greatest = 0, {}, nil
  for _, row in ipairs(rows) do
    local size = #cjson.encode(row) + ROW_GROWTH_BYTES
    local of_user = by_user[row[3]] or { rows = 0, bytes = 0 }
    by_user[row[3]] = of_user
    of_user.rows, of_user.bytes, bytes = of_user.rows + 1, of_user.bytes + size, bytes + size
    if not greatest or of_user.rows > by_user[greatest].rows then
      greatest = row[3]
    end
  end
  return bytes, by_user, greatest
end

-- The rows with room for one more; nil when there is none. Where a record has too many, the
-- user with most of them loses the last one to a user who has at least two fewer.
local function rows_with_room(record, row)
  local size = #cjson.encode(row) + ROW_GROWTH_BYTES
  local rows = {}
  for _, other in ipairs(record.waiting) do
    if is_live(record, other) then
      rows[#rows + 1] = other
    end
  end
  local bytes, by_user, greatest = measure(rows)
  local own = by_user[row[3]] or { rows = 0, bytes = 0 }
  if own.rows >= MAX_WAITING_PER_USER or own.bytes + size > MAX_WAITING_BYTES_PER_USER then
    return nil
  end
  while #rows >= MAX_WAITING or bytes + size > MAX_WAITING_BYTES do
    if by_user[greatest].rows <= own.rows + 1 then
      return nil
    end
    for place = #rows, 1, -1 do
      if rows[place][3] == greatest then
        table.remove(rows, place)
        break
      end
    end
    bytes, by_user, greatest = measure(rows)
  end
  return rows
end

local function find_waiting(record, field, tab_id)
  for place, row in ipairs(record.waiting) do
    if row[1] == field and row[2] == tab_id then
      return row, place
    end
  end
end

-- Let the tab wait for a field that another one has; once, however often it asks. False
-- when it may not, because too many wait.
function claims.wait(record, field, tab_id, user, name, idle_ms)
  if find_waiting(record, field, tab_id) then
    return true
  end
  local since_ms = string.format("%d", record.now_ms)
  local row = { field, tab_id, user, name, since_ms, string.format("%d", idle_ms), "", "" }
  local rows = rows_with_room(record, row)
  if not rows then
    return false
  end
  rows[#rows + 1] = row
  set_waiting(record, rows)
  return true
end

-- How many other tabs are to have the field, or a part of it, before this one; with itself.
-- 0 where the tab does not wait.
function claims.place_of(record, field, tab_id)
  local _, last = find_waiting(record, field, tab_id)
  local place = last and 1 or 0
  for i = 1, (last or 0) - 1 do
    local row = record.waiting[i]
    if row[2] ~= tab_id and overlap(row[1], field) then
      place = place + 1
    end
  end
  return place
end

-- Let the tab wait for the field no longer, if it does.
function claims.stop_waiting(record, field, tab_id)
  local _, place = find_waiting(record, field, tab_id)
  if place then
    begin_with_removal(record)
    table.remove(record.waiting, place)
    set_waiting(record, record.waiting)
  end
end

local function places_by_field(rows)
  local places = {}
  for place, row in ipairs(rows) do
    places[row[1]] = place
  end
  return places
end

-- The claim that the row waits for; nil when nothing is in its way. All must be of live tabs.
local function claim_in_way(rows, places, row)
  if row[1] == WHOLE_RECORD then
    for _, claim in ipairs(rows) do
      if claim[2] ~= row[2] then
        return claim
      end
    end
    return nil
  end
  local claim, whole = rows[places[row[1]]], rows[places[WHOLE_RECORD]]
  if claim and claim[2] == row[2] then
    claim = nil
  end
  if whole and whole[2] == row[2] then
    whole = nil
  end
  if claim and whole then
    return places[row[1]] < places[WHOLE_RECORD] and claim or whole
  end
  return claim or whole
end

-- Send away those who wait for this claim. Returns how many they were.
function claims.decline(record, own)
  local rows, places = {}, places_by_field(record.claims)
  for _, row in ipairs(record.waiting) do
    if claim_in_way(record.claims, places, row) ~= own then
      rows[#rows + 1] = row
    end
  end
  local declined = #record.waiting - #rows
  if declined > 0 then
    begin_with_removal(record)
    set_waiting(record, rows)
  end
  return declined
end

-- Whether the tab of a row that waits may still get what it waits for, as far as this call
-- can have changed that.
local function still_waits(record, row)
  if row[2] == record.put_tab_id then
    return row[3] == record.put_user and record.is_put_editing
  end
  return not record.must_check_claims or is_live(record, row)
end

-- The state of the row's tab, nil unless it is live, edits and is its user's.
local function editing_state(record, row)
  local state = is_live(record, row) and tab_state.decode(redis.call("HGET", record.tabs, row[2]))
  return state and state.is_editing and state.user == row[3] and state or nil
end

-- The last claim on the field that this call has ended.
local function last_ended(record, row)
  for i = #record.ended_claims, 1, -1 do
    local claim = record.ended_claims[i]
    if claim[2] ~= row[2] and overlap(claim[1], row[1]) then
      return claim
    end
  end
end

-- Give the field to a tab that waits for it. Where it can't have it any more, it has waited in vain.
local function pass(record, row)
  local state = editing_state(record, row)
  if not state then
    return
  end
  local claim = claims.new_claim(record, row[1], row[2], row[3], state.name)
  local entry = { "claimed", row[3], state.name, row[2], row[1] }
  local from = last_ended(record, row)
  if from then
    claim[5], claim[6], claim[7] = "00" .. claim[5], from[3], from[4]
    entry[6], entry[7], entry[8] = from[3], from[4], 1
  end
  if claims.add(record, claim) then
    log(record, entry)
  end
end

-- Note since when the holder of the claim is away. Returns whether it has been for too long,
-- whether what was noted has changed, and whether that is the time.
local function check_holder(record, row, claim)
  local noted_tab, noted_at = row[7], row[8]
  if claim[2] ~= row[7] then
    row[7], row[8] = claim[2], ""
  end
  local passes_at_ms = record.now_ms + tonumber(row[6])
  if not viewer_entries.is_away(record, claim[3]) then
    row[8] = ""
  elseif row[8] == "" or tonumber(row[8]) > passes_at_ms then -- the clock was set back
    row[8] = string.format("%d", passes_at_ms)
  end
  local is_due = row[8] ~= "" and tonumber(row[8]) <= record.now_ms
  return is_due, row[7] ~= noted_tab or row[8] ~= noted_at, row[8] ~= noted_at
end

-- End what the holder has of what the row waits for.
local function end_claims_in_way(record, row, holder_tab_id)
  begin_with_removal(record)
  local rows = {}
  for _, claim in ipairs(record.claims) do
    if claim[2] == holder_tab_id and overlap(claim[1], row[1]) then
      log_end(record, claim)
    else
      rows[#rows + 1] = claim
    end
  end
  set_claims(record, rows)
end

-- Serve those who wait: whoever is gone waits no longer, whoever has nothing in their way any
-- more gets the field, and whoever is away for too long loses it. All claims must be of live
-- tabs. Writes nothing where nothing is to be done.
function claims.settle(record)
  conflicts.load(record)
  local rows, is_note_changed, is_time_changed = {}, false, false
  for _, row in ipairs(record.waiting) do
    if still_waits(record, row) then
      rows[#rows + 1] = row
    end
  end
  local is_changed = #rows < #record.waiting
  local place, places = 1, places_by_field(record.claims)
  while place <= #rows do
    local row = rows[place]
    local claim = claim_in_way(record.claims, places, row)
    if not claim then
      begin_with_removal(record)
      record.is_modified, is_changed = true, true
      table.remove(rows, place)
      pass(record, row)
      places = places_by_field(record.claims)
    else
      local is_due, is_noted, is_timed = check_holder(record, row, claim)
      is_note_changed, is_time_changed = is_note_changed or is_noted, is_time_changed or is_timed
      place = place + 1
      if is_due then
        end_claims_in_way(record, row, claim[2])
        place, places = 1, places_by_field(record.claims) -- somebody may have waited for longer
      end
    end
  end
  if is_changed then
    begin_with_removal(record)
    set_waiting(record, rows)
  elseif is_note_changed then
    begin_with_removal(record)
    record.is_modified, record.are_claims_changed = true, record.are_claims_changed or is_time_changed
    if record.meta then
      write_waiting(record)
    end
  end
  record.pass_due_ms = nil
  for _, row in ipairs(rows) do
    local passes_at_ms = tonumber(row[8])
    if passes_at_ms and passes_at_ms < (record.pass_due_ms or passes_at_ms + 1) then
      record.pass_due_ms = passes_at_ms
    end
  end
end

-- Write them, and the saves, into a viewers hash that was made anew.
function claims.write_all(record)
  conflicts.load(record)
  conflicts.write_saves(record)
  if #record.claims > 0 then
    write_claims(record)
  end
  if #record.waiting > 0 then
    write_waiting(record)
  end
end

-- Read them into the record, before the viewers hash is removed.
claims.load = conflicts.load

return claims
