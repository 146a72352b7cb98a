-- open_add - Note that a user has a record open, in the tenant's indexes of open records.
--
-- KEYS[1]  of_type         zset    id of a record of this type -> when it was last known to be open, us
-- KEYS[2]  of_user         zset    type:id of a record -> when this user was last known to have it open, us
-- ARGV[1]  id              string  of the record
-- ARGV[2]  name            string  type:id
-- ARGV[3]  kept_ms         int     how long a record stays in the indexes without being noted again
-- ARGV[4]  max_of_type     int     records of one type; those noted longest ago are dropped first
-- ARGV[5]  max_of_user     int     the same of one user
-- ARGV[6]  unchecked_ms    int     records that were noted longer ago than this are to be checked
-- ARGV[7]  limit           int     how many of them to return
--
-- Returns  {"OK", age_ms, id, noted_us, ...}; for how long there has been this index of the type, and
--          those of it to look at, since they may be open no longer
-- Writes   of_type, of_user
-- Cost     O(log records)
local of_type, of_user = KEYS[1], KEYS[2]
local id, name = ARGV[1], ARGV[2]
local kept_ms, max_of_type, max_of_user = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local unchecked_ms, limit = tonumber(ARGV[6]), tonumber(ARGV[7])

local clock = require("lib.clock")

-- In microseconds, so that no two calls give a record the same time: whoever removes it
-- as it was when they looked at it does not remove one that was noted since.
local now_us = clock.now_us()
local oldest_us = string.format("%d", now_us - kept_ms * 1000)
redis.call("ZADD", of_type, string.format("%d", now_us), id)
redis.call("ZADD", of_user, string.format("%d", now_us), name)
-- Since when: the last member, "#us". A young index may have been lost with all that was in
-- it, and then every process notes anew what it sees.
local last = redis.call("ZRANGE", of_type, -1, -1)[1]
local since_us = string.match(last, "^#(%d+)$")
if not since_us then
  since_us = string.format("%d", now_us)
  redis.call("ZADD", of_type, "+inf", "#" .. since_us)
end
redis.call("ZREMRANGEBYSCORE", of_type, "-inf", oldest_us)
redis.call("ZREMRANGEBYSCORE", of_user, "-inf", oldest_us)
redis.call("ZREMRANGEBYRANK", of_type, 0, string.format("%d", -max_of_type - 2))
redis.call("ZREMRANGEBYRANK", of_user, 0, string.format("%d", -max_of_user - 1))
redis.call("PEXPIRE", of_type, string.format("%d", kept_ms))
redis.call("PEXPIRE", of_user, string.format("%d", kept_ms))

local reply = { "OK", math.floor(math.max(0, now_us - since_us) / 1000) }
if limit > 0 then
  local before_us = string.format("%d", now_us - unchecked_ms * 1000)
  local found =
    redis.call("ZRANGEBYSCORE", of_type, "-inf", before_us, "WITHSCORES", "LIMIT", 0, limit)
  for _, text in ipairs(found) do
    reply[#reply + 1] = text
  end
end
return reply
