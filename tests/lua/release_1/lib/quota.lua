-- lib.quota - A fixed window of calls: the first opens it, the limit closes it.
local quota = {}

-- Count one call. Returns nothing, or how long to wait, ms, when it is one too many.
function quota.take(calls, limit, window_ms)
  return quota.judge(calls, redis.call("INCR", calls), limit, window_ms)
end

-- The same for what still works when Redis is full: then it is not counted.
function quota.take_unless_full(calls, limit, window_ms)
  local made = redis.pcall("INCR", calls)
  if type(made) == "number" then
    return quota.judge(calls, made, limit, window_ms)
  end
  if string.find(made.err, "OOM", 1, true) then
    return nil
  end
  return quota.take(calls, limit, window_ms) -- raises what is wrong
end

-- The same of a call that is counted: `made` are those of this window.
function quota.judge(calls, made, limit, window_ms)
  if made == 1 then
    redis.call("PEXPIRE", calls, window_ms)
  end
  if made <= tonumber(limit) then
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
