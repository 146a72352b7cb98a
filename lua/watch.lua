-- watch - Sweep a record for its streams, and say when to do so again.
--
-- KEYS[1]  tabs           hash    tab_id -> state
-- KEYS[2]  seen           zset    tab_id -> end of lease, ms
-- KEYS[3]  viewers        hash    user -> viewer entry, "#" -> meta, see lib.roster
-- KEYS[4]  order          zset    user -> arrival; long lists only
-- KEYS[5]  timeline       stream  what happened
-- KEYS[6]  unsaved        zset    index of unsaved fields; long lists only
-- ARGV[1]  known_version  string  "?" when there is none
-- ARGV[2]  limit          int     viewers to list; 0 asks for the version only
-- ARGV[3]  lease_ms       int     > 0
-- ARGV[4]  nonce          string  random; part of a new version
-- ARGV[5]  timeline_ms    int     how long the timeline is kept; 0 writes none
-- ARGV[6]  after          int     list those who arrived after this place; 0: from the first one
-- ARGV[7]  max_bytes      int     of the viewers, as an HTTP answer
--
-- Returns  {"OK", version, next_ms, is_cut, total, opened_ms, remembered_since_ms, saves, claims,
--            waiting, user, entry, ...};
--          is_cut 1 when there are more viewers
--          | {"OK", version, next_ms} | {"UNCHANGED", version, next_ms};
--          next_ms until the next lease ends or a claim is passed on, -1 when there is none
-- Writes   tabs, seen, viewers, order, timeline, unsaved
-- Cost     O(limit) when the version is not known, and O(stale tabs) to sweep them
local viewer_list = require("lib.viewer_list")
local roster = require("lib.roster")

local tabs, seen, viewers, order, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unsaved = KEYS[6]
local known_version, limit = ARGV[1], tonumber(ARGV[2])
local lease_ms, nonce, timeline_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local after, max_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])

local keys = { tabs, seen, viewers, order, timeline, unsaved }
local record = roster.sweep(keys, lease_ms, timeline_ms, nonce)
local next_ms = roster.next_expiry_ms(record) or -1
if known_version == record.version then
  return { "UNCHANGED", record.version, next_ms }
end
local reply = { "OK", record.version, next_ms }
if limit > 0 then
  reply[4] = 0
  local page = { after = after, limit = limit, max_bytes = max_bytes }
  if viewer_list.append(viewers, order, page, reply) then
    reply[4] = 1
  end
end
return reply
