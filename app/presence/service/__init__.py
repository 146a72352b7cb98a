"""Record presence for one tenant: who has a record open right now."""

from .conflicts import ConflictCalls
from .lists import ListCalls
from .operators import OperatorCalls
from .tabs import TabCalls

__all__ = ["RecordPresenceService"]


class RecordPresenceService(TabCalls, ListCalls, ConflictCalls, OperatorCalls):
    """Presence of one tenant's records, on any redis-py client.

    Needs no Flask. Every call is one atomic script on Redis and takes its time
    from Redis. A tab lives `ttl_seconds` after its last `update_presence`. The
    timeline of a record is kept for `timeline_seconds`; 0 keeps none. For
    `recovery_grace_seconds` after Redis has lost all data, lists are marked as
    unconfirmed. Whoever has claimed a field that others wait for, and is away for
    `claim_idle_seconds`, loses it to them. With `has_open_index`, whoever comes is also noted
    in the tenant's indexes of open records, which `list_open_records` and `forget_user` read:
    another command, for those who come, and about every two hours for a tab that stays. The two
    hours are reckoned from the interval of its heartbeats, `heartbeat_seconds`, by default a
    third of `ttl_seconds`.

    Every method raises InvalidPresence for names and values outside the
    contract (before Redis is asked), and StoreUnavailable when Redis gives no answer.

    >>> service = RecordPresenceService(redis.Redis(), tenant_id=1)
    >>> service.update_presence("flow", 12, "tab-1", user_id=42, user_name="Alice", mode="edit")
    >>> service.get_unique_viewers("flow", 12)
    [{'id': 42, 'name': 'Alice', 'tabs': 1, 'mode': 'edit', ...}]
    """
