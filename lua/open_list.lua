-- open_list - Read a page of an index of open records, those first that were noted longest ago.
--
-- KEYS[1]  index         zset    record -> when it was last known to be open, us
-- ARGV[1]  after_us      string  go on after a record that was noted then; "-inf" from the first one
-- ARGV[2]  after_record  string  and that follows this one; "" from the first one
-- ARGV[3]  limit         int     records to list
--
-- Returns  {"OK", record, noted_us, ...}
-- Writes   nothing
-- Cost     O(limit)
local index = KEYS[1]
local after_us, after_record, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])

local CHUNK_RECORDS = 200 -- to read at once

-- A record that is noted again meanwhile goes to the end: it may be on two pages, and none
-- is missing.
local reply = { "OK" }
local offset = 0
while #reply < 2 * limit do
  local page = { "WITHSCORES", "LIMIT", offset, CHUNK_RECORDS }
  local found = redis.call("ZRANGEBYSCORE", index, after_us, "(+inf", unpack(page))
  for i = 1, #found, 2 do
    local is_new = tonumber(found[i + 1]) ~= tonumber(after_us) or found[i] > after_record
    if is_new and #reply < 2 * limit then
      reply[#reply + 1], reply[#reply + 2] = found[i], found[i + 1]
    end
  end
  if #found < 2 * CHUNK_RECORDS then
    break
  end
  offset = offset + CHUNK_RECORDS
end
return reply
