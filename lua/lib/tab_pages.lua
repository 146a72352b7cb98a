-- lib.tab_pages - Go through the tabs of a record, page by page, those first whose leases end first.
--
-- A heartbeat moves its tab to the end. So a tab whose user beats between two pages may be on
-- both of them, and none is missing.
local tab_pages = {}

local MAX_READ_STATES = 64 -- at once: a state may have 10 KB
local TAB_OVERHEAD_BYTES = 150 -- that an HTTP answer adds to a state

-- The rank of the first tab behind `after`, which reads "lease_end-tab_id".
local function rank_behind(seen, after)
  local lease_end, tab_id = string.match(after, "^(%d+)-(.+)$")
  if not lease_end then
    return 0
  end
  local current_end = redis.call("ZSCORE", seen, tab_id)
  if current_end and tonumber(current_end) == tonumber(lease_end) then
    return redis.call("ZRANK", seen, tab_id) + 1
  end
  return redis.call("ZCOUNT", seen, "-inf", "(" .. lease_end)
end

-- Call `visit(tab_id, lease_end, state)` for the tabs of a page; the state is false for a
-- lease without one. `page` says which:
--
--   after      those behind this one, "lease_end-tab_id"; "" for the first page
--   limit      so many
--   max_bytes  as many as fit into an answer of so many bytes, and one in any case
--
-- Returns whether there are more.
function tab_pages.each(tabs, seen, page, visit)
  local first_rank, bytes = rank_behind(seen, page.after), 0
  local rank = first_rank
  while rank - first_rank < page.limit do
    local count = math.min(MAX_READ_STATES, page.limit - (rank - first_rank))
    local leases = redis.call("ZRANGE", seen, rank, rank + count - 1, "WITHSCORES")
    if #leases == 0 then
      return false
    end
    local tab_ids = {}
    for i = 1, #leases, 2 do
      tab_ids[#tab_ids + 1] = leases[i]
    end
    for i, state in ipairs(redis.call("HMGET", tabs, unpack(tab_ids))) do
      bytes = bytes + #tab_ids[i] + (state and #state or 0) + TAB_OVERHEAD_BYTES
      if bytes > page.max_bytes and rank > first_rank then
        return true
      end
      visit(tab_ids[i], leases[2 * i], state)
      rank = rank + 1
    end
  end
  return rank < redis.call("ZCARD", seen)
end

return tab_pages
