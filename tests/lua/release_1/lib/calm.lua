-- lib.calm - Until when a record is calm: no lease ends before, no key needs a longer life.
--
-- A heartbeat that changes nothing then looks at nobody else's lease, and at
-- no key's end. `until_s` may lie before the first end, never after it. Every
-- key outlives it by the longest lease and up to a second: whatever is renewed
-- while it is calm ends before its keys do, and a sweep that comes late still
-- finds out who is gone, and can say so.
--
-- In seconds, since a hash is compact only while its values have 64 bytes.
local calm = {}

-- When the first lease ends, ms, as text; nil when there is none.
function calm.first_end(seen)
  return redis.call("ZRANGE", seen, 0, 0, "WITHSCORES")[2]
end

-- When the last lease ends, ms.
function calm.last_end(seen)
  return tonumber(redis.call("ZRANGE", seen, -1, -1, "WITHSCORES")[2])
end

function calm.until_s(seen)
  return math.floor(calm.first_end(seen) / 1000)
end

-- Let the keys end together, as said above. PEXPIREAT, not PEXPIRE: a short
-- lease must not take others with it.
function calm.outlive(keys, until_s, longest_ms)
  local ends = string.format("%d", (until_s + 1) * 1000 + longest_ms)
  for _, key in ipairs(keys) do
    redis.call("PEXPIREAT", key, ends)
  end
end

-- The meta of a record with another end of its calm, see lib.roster.
function calm.rewrite(meta, until_s)
  return (string.gsub(meta, "^(%S+ %d+) %d+", string.format("%%1 %d", until_s)))
end

return calm
