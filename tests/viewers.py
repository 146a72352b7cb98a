"""What a viewer looks like, where a test compares a whole one."""

from datetime import UTC, datetime
from typing import Any

from record_presence.presence.codec import PLACES_PER_SECOND


class _JustNow:
    """Equal to every ISO time of the last five minutes."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        return -5 < (datetime.now(UTC) - datetime.fromisoformat(other)).total_seconds() < 300

    def __repr__(self) -> str:
        return "<just now>"


JUST_NOW = _JustNow()


def viewer(user: int | str = 42, name: str = "Alice", **shown: Any) -> dict[str, Any]:
    """A user with one tab who looks at it, and what differs from that."""
    return {
        "id": user,
        "name": name,
        "tabs": 1,
        "mode": "view",
        "has_dirty_tab": False,
        "active_fields": [],
        "away": False,
        "since": JUST_NOW,
        **shown,
    }


def without_seconds(changes: list[list[Any]]) -> list[list[Any]]:
    """Changes as they are published, but with nothing but places for arrivals: 1, 2, 3."""
    return [
        [kind, user, [what[0], what[1] % PLACES_PER_SECOND, *what[2:]] if isinstance(what, list) else what]
        for kind, user, what in changes
    ]
