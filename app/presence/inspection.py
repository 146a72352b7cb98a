"""What Redis holds of a record, and why each tab is shown or not."""

from typing import Any, TypedDict

from .codec import decode_conflict_state, decode_tab
from .conflicts import ConflictState
from .viewers import Tab


class InspectedTab(TypedDict):
    """A tab, or what another system left in its place."""

    tab_id: str
    is_shown: bool
    reason: str  # a sentence for people
    tab: Tab | None  # None where the field is not in our format
    lease_left_ms: int | None  # negative when it is over, None without a lease


class Inspection(TypedDict):
    """A record as it lies in Redis, unswept."""

    version: str
    tabs: list[InspectedTab]
    conflicts: ConflictState
    next: str | None  # where to go on from; None at the end


def decode_inspection(reply: list[Any], default_lease_ms: int) -> Inspection:
    """Read the reply of lua/inspect.lua, without its status word."""
    is_cut, now_ms, meta, saves, claims, waiting, *rows = reply
    version, _, rest = meta.partition(" ")
    remembered_since_ms = rest.rpartition(" ")[2] or now_ms
    return {
        "version": version or "0",
        "tabs": [
            _inspect_tab(rows[i], rows[i + 1], rows[i + 2], int(now_ms), default_lease_ms)
            for i in range(0, len(rows), 3)
        ],
        "conflicts": decode_conflict_state(remembered_since_ms, saves, claims, waiting),
        "next": f"{int(float(rows[-2]))}-{rows[-3]}" if is_cut else None,
    }


def _inspect_tab(tab_id: str, lease_end: str, state: str, now_ms: int, default_lease_ms: int) -> InspectedTab:
    end_ms = int(float(lease_end)) if lease_end else None
    left_ms = None if end_ms is None else end_ms - now_ms
    tab = _decode_tab_if_ours(state, end_ms if end_ms is not None else now_ms, default_lease_ms)
    is_shown = False
    if left_ms is None:
        reason = "Not shown: another system wrote this field, and it has no lease."
    elif not state:
        reason = "Not shown: there is a lease without a state; the next call repairs that."
    elif tab is None:
        reason = "Not shown: the state is not in the format of this service."
    elif left_ms <= 0:
        reason = f"Not shown: the lease ended {-left_ms / 1000:.1f} s ago; the next call sweeps it."
    else:
        is_shown = True
        reason = f"Shown: last heartbeat at {tab['last_seen_at']}, the lease ends in {left_ms / 1000:.1f} s."
    return {"tab_id": tab_id, "is_shown": is_shown, "reason": reason, "tab": tab, "lease_left_ms": left_ms}


def _decode_tab_if_ours(state: str, lease_end_ms: int, default_lease_ms: int) -> Tab | None:
    try:
        return decode_tab(state, lease_end_ms, default_lease_ms)
    except (ValueError, TypeError, IndexError, KeyError):
        return None
