-- lib.expiry - When the leases of a record end, and when its keys may.
--
-- `no_expiry_before_s`, in seconds since the epoch, stands in the record's meta
-- (see lib.roster): no lease ends before then, and no key has to live longer than
-- it does. Until then a heartbeat that changes nothing need not look at anybody
-- else's lease, nor at the end of a key. It may lie before the first lease's end,
-- never after it.
--
-- Each key outlives it by the record's longest lease and up to a second. So a lease
-- that is renewed until then ends before its keys do, and a sweep that comes late
-- still finds out who is gone, and can announce it.
--
-- In seconds, since Redis keeps a hash compact only while no value has more than
-- 64 bytes.
local expiry = {}

-- When the first lease ends, ms, as text; nil when there is none.
function expiry.first_lease_end(seen)
  return redis.call("ZRANGE", seen, 0, 0, "WITHSCORES")[2]
end

-- When the last lease ends, ms. There must be one.
function expiry.last_lease_end(seen)
  return tonumber(redis.call("ZRANGE", seen, -1, -1, "WITHSCORES")[2])
end

-- There must be a lease.
function expiry.no_expiry_before_s(seen)
  return math.floor(expiry.first_lease_end(seen) / 1000)
end

-- PEXPIREAT, not PEXPIRE: a short lease must not take others with it.
function expiry.extend_keys(keys, no_expiry_before_s, max_lease_ms)
  local end_ms = string.format("%d", (no_expiry_before_s + 1) * 1000 + max_lease_ms)
  for _, key in ipairs(keys) do
    redis.call("PEXPIREAT", key, end_ms)
  end
end

-- The text of the meta with another `no_expiry_before_s`.
function expiry.replace_in_meta(meta, no_expiry_before_s)
  return (string.gsub(meta, "^(%S+ %d+) %d+", string.format("%%1 %d", no_expiry_before_s)))
end

return expiry
