-- open_check - Tell an index of open records what a look at them has shown.
--
-- KEYS[1]  index  zset    record -> when it was last known to be open, us
-- ARGV[1]  rows   string  JSON array of arrays [record, noted_us, is_open]; noted_us as it was
--                         read, a string; is_open 0 or 1
--
-- Returns  {"OK"}
-- Writes   index
-- Cost     O(rows)
local index = KEYS[1]
local rows = ARGV[1]

local clock = require("lib.clock")

-- A record that was noted since then has been opened again, perhaps after the look.
local now_us = clock.now_us()
for place, row in ipairs(cjson.decode(rows)) do
  local record, noted_us, is_open = row[1], tonumber(row[2]), row[3] == 1
  if tonumber(redis.call("ZSCORE", index, record) or "") == noted_us then
    -- A full Redis accepts a first write only if it is a removal.
    redis.call("ZREM", index, record)
    if is_open then
      redis.call("ZADD", index, string.format("%d", now_us + place), record)
    end
  end
end
return { "OK" }
