"""Why is she shown? What Redis holds of a record, and what follows from it."""

from typing import Any, TypedDict

from app.presence.conflicts import Notes, decode_notes
from app.presence.records import Tab, decode_tab


class InspectedTab(TypedDict):
    """A tab, or what another system left in its place."""

    tab_id: str
    is_shown: bool
    reason: str  # for people
    tab: Tab | None  # None where the field is not ours to read
    lease_left_ms: int | None  # negative when it is over, None without a lease


class Inspection(TypedDict):
    """A record as it lies in Redis, sweep or no sweep."""

    version: str
    tabs: list[InspectedTab]
    notes: Notes


def inspect(reply: list[Any], lease_ms: int) -> Inspection:
    """Read the reply of lua/inspect.lua, without its status word. `lease_ms` is the usual lease."""
    now_ms, meta, saves, claims, *rows = reply
    version, _, rest = meta.partition(" ")
    opened_ms = rest.rpartition(" ")[2] or now_ms
    tabs = [_inspected(*rows[i : i + 3], int(now_ms), lease_ms) for i in range(0, len(rows), 3)]
    return {"version": version or "0", "tabs": tabs, "notes": decode_notes(opened_ms, saves, claims)}


def _inspected(tab_id: str, lease_end: str, state: str, now_ms: int, lease_ms: int) -> InspectedTab:
    end_ms = int(float(lease_end)) if lease_end else None
    left_ms = None if end_ms is None else end_ms - now_ms
    tab = _readable(state, end_ms if end_ms is not None else now_ms, lease_ms)
    if left_ms is None:
        is_shown, reason = False, "Not shown: another system wrote this field, and it has no lease."
    elif not state:
        is_shown, reason = False, "Not shown: there is a lease and no state; the next call repairs that."
    elif tab is None:
        is_shown, reason = False, "Not shown: the state is not one that this service writes."
    elif left_ms <= 0:
        is_shown, reason = (
            False,
            f"Not shown: the lease ended {-left_ms / 1000:.1f} s ago; the next call sweeps it.",
        )
    else:
        is_shown = True
        reason = f"Shown: last heartbeat at {tab['last_seen_at']}, the lease ends in {left_ms / 1000:.1f} s."
    return {"tab_id": tab_id, "is_shown": is_shown, "reason": reason, "tab": tab, "lease_left_ms": left_ms}


def _readable(state: str, lease_end_ms: int, lease_ms: int) -> Tab | None:
    try:
        return decode_tab(state, lease_end_ms, lease_ms)
    except (ValueError, TypeError, IndexError, KeyError):
        return None
