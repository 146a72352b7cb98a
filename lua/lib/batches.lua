-- lib.batches - Go through a long list in parts that fit on Lua's stack.
local batches = {}

local MAX_ITEMS = 1000 -- that unpack() may return at once

-- Call `visit(first, ...)` with each part; `first` is the place of its first item.
function batches.each(items, visit)
  for first = 1, #items, MAX_ITEMS do
    visit(first, unpack(items, first, math.min(first + MAX_ITEMS - 1, #items)))
  end
end

return batches
