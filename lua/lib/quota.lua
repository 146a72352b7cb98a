-- lib.quota - A fixed window of calls: the first call opens it, the limit closes it.
--
-- Each function answers with nothing where the call is within the limit, and else
-- with the milliseconds until the window ends.
local quota = {}

-- Count a call, which counts as `cost` calls (1 where it is left out).
function quota.consume(calls, limit, window_ms, cost)
  cost = cost or 1
  return quota.check(calls, redis.call("INCRBY", calls, cost), limit, window_ms, cost)
end

-- Count one call, unless Redis is full: what works on a full Redis passes uncounted.
function quota.consume_if_writable(calls, limit, window_ms)
  local call_count = redis.pcall("INCR", calls)
  if type(call_count) == "number" then
    return quota.check(calls, call_count, limit, window_ms)
  end
  if string.find(call_count.err, "OOM", 1, true) then
    return nil
  end
  return quota.consume(calls, limit, window_ms) -- raises the error again
end

-- Check a call that is counted already; `call_count` includes it, with its `cost` (1 where it is left out).
function quota.check(calls, call_count, limit, window_ms, cost)
  if call_count == (cost or 1) then
    redis.call("PEXPIRE", calls, window_ms)
  end
  if call_count <= tonumber(limit) then
    return nil
  end
  local left_ms = redis.call("PTTL", calls)
  if left_ms < 0 or left_ms > tonumber(window_ms) then
    -- A clock set back must not lengthen the window by as much.
    redis.call("PEXPIRE", calls, window_ms)
    left_ms = tonumber(window_ms)
  end
  return left_ms
end

return quota
