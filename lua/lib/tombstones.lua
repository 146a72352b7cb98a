-- lib.tombstones - Which tabs have said goodbye, so that none of them comes back by a
-- heartbeat that was sent before the goodbye and arrives after it.
--
-- The hash `left` has a tombstone for each of them: "tab_id user" -> the stamp of its last
-- goodbye; "tab_id " for a tab that was removed whoever it belonged to. By user, since
-- anybody may say goodbye for a tab that is not there (its first heartbeat may be late).
--
-- A stamp says when a call was made, "arrived_us" or "arrived_us sent_at": when it reached
-- the application, by that machine's clock, µs since the epoch; and where the client says
-- so, when it was sent, ms by the client's own clock. The latter knows of a call that was
-- held on its way, but is only comparable with that of the same tab.
--
-- Redis's own clock can't tell: a script runs when the call is over.
local tombstones = {}

local MAX_TOMBSTONES = 1000 -- of a record; from then on the older half is dropped
local KEPT_LEASES = 2 -- after the last goodbye: a tab that comes back later is gone after one

local function decode(stamp)
  local arrived_us, sent_at = string.match(stamp, "^(%d+) ?(%d*)$")
  return tonumber(arrived_us), tonumber(sent_at)
end

local function is_later(stamp, other_stamp)
  local arrived_us, sent_at = decode(stamp)
  local other_arrived_us, other_sent_at = decode(other_stamp)
  if sent_at and other_sent_at and sent_at ~= other_sent_at then
    return sent_at > other_sent_at
  end
  return arrived_us > other_arrived_us
end

local function drop_older_half(left)
  local stored, ages = redis.call("HGETALL", left), {}
  for i = 1, #stored, 2 do
    ages[#ages + 1] = { stored[i], (decode(stored[i + 1])) }
  end
  table.sort(ages, function(a, b)
    return a[2] < b[2]
  end)
  for i = 1, #ages / 2 do
    redis.call("HDEL", left, ages[i][1])
  end
end

-- Remember the goodbye of a tab. `user` is the JSON text of its owner's id, "" for any.
function tombstones.add(left, tab_id, user, stamp, lease_ms)
  local field = tab_id .. " " .. user
  local known_stamp = redis.call("HGET", left, field)
  if known_stamp and not is_later(stamp, known_stamp) then
    return
  end
  -- A full Redis accepts a first write only if it is a removal.
  redis.call("HDEL", left, field)
  redis.call("HSET", left, field, stamp)
  redis.call("PEXPIRE", left, string.format("%d", KEPT_LEASES * lease_ms))
  if redis.call("HLEN", left) > MAX_TOMBSTONES then
    drop_older_half(left)
  end
end

-- Whether the tab has said goodbye since this call of its user was made.
function tombstones.has_left_since(left, tab_id, user, stamp)
  local own = redis.call("HGET", left, tab_id .. " " .. user)
  local anybodys = redis.call("HGET", left, tab_id .. " ")
  return own and not is_later(stamp, own) or anybodys and not is_later(stamp, anybodys) or false
end

return tombstones
