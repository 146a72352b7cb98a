"""How the calls of a service reach the scripts."""

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from ..errors import (
    InvalidPresence,
    StoreUnavailable,
    TabHasLeft,
    TabOwnedByAnotherUser,
    TooManyCalls,
    TooManyTabs,
    TooMuchKeptOfTenant,
)
from ..limits import (
    DEFAULT_CLAIM_IDLE_SECONDS,
    DEFAULT_TTL_SECONDS,
    MAX_PREPARE_SECONDS,
    MAX_TABS_PER_USER,
    Quota,
)
from ..open_records import OpenRecords
from ..records import Record, tenant_text
from ..scripts import Scripts
from ..validation import check_seconds, record_errors
from ..versions import new_nonce

# In the place of a known version: list no viewers, or list them in any case.
LIST_NEVER, LIST_ALWAYS = "", "?"

# What a script may ask for before it is called again, and why a call ends that asks for too long.
_PREPARATIONS = {
    "SWEEP_FIRST": "leases end faster than they can be swept",
    "INDEX_FIRST": "there are too many unsaved fields to index them now",
}


class ServiceBase:
    """What all calls need: the settings of one tenant's service, and how a script is run."""

    def __init__(
        self,
        redis: Any,
        tenant_id: int | str,
        *,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeline_seconds: float = 0,
        recovery_grace_seconds: float = 0,
        claim_idle_seconds: float = DEFAULT_CLAIM_IDLE_SECONDS,
        has_open_index: bool = False,
        heartbeat_seconds: float | None = None,
        scripts: Scripts | None = None,
    ) -> None:
        positive: dict[str, float] = {"ttl_seconds": ttl_seconds, "claim_idle_seconds": claim_idle_seconds}
        if heartbeat_seconds is not None:
            positive["heartbeat_seconds"] = heartbeat_seconds
        others: dict[str, float] = {
            "timeline_seconds": timeline_seconds,
            "recovery_grace_seconds": recovery_grace_seconds,
        }
        for name, seconds in (positive | others).items():
            check_seconds(name, seconds)
        for name, seconds in positive.items():
            if seconds == 0:
                raise InvalidPresence({name: ["Must be greater than 0."]})
        self._redis = redis
        self._tenant = tenant_text(tenant_id)
        self._lease_ms = max(1, round(ttl_seconds * 1000))
        self._timeline_ms = round(timeline_seconds * 1000)
        self._recovery_grace_ms = round(recovery_grace_seconds * 1000)
        self._claim_idle_ms = max(1, round(claim_idle_seconds * 1000))
        self._scripts = scripts or _shared_scripts()
        self._open_records: OpenRecords | None = None
        if has_open_index:
            self._open_records = OpenRecords(
                redis,
                self._scripts,
                self._tenant,
                lease_ms=self._lease_ms,
                timeline_ms=self._timeline_ms,
                heartbeat_seconds=ttl_seconds / 3 if heartbeat_seconds is None else heartbeat_seconds,
            )

    def _run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], tab_id: str | None = None
    ) -> list[Any]:
        """The reply of a script. Raises what it refuses; `tab_id` is the tab that this may be about."""
        reply = self._scripts.run(self._redis, name, keys, arguments)
        if reply[0] in _PREPARATIONS:
            reply = self._prepare_and_run(reply[0], name, keys, arguments)
        if reply[0] == "TAB_TAKEN":
            raise TabOwnedByAnotherUser(tab_id)
        if reply[0] == "TAB_LEFT":
            raise TabHasLeft(tab_id)
        if reply[0] == "THROTTLED":
            raise TooManyCalls(reply[1] / 1000)
        if reply[0] == "NO_ROOM":
            raise TooMuchKeptOfTenant(self._lease_ms / 1000)
        if reply[0] == "TOO_MANY_TABS":
            # A lease is the longest that a tab can take to make room after its page is gone.
            raise TooManyTabs(MAX_TABS_PER_USER, self._lease_ms / 1000)
        return reply

    def _prepare_and_run(
        self, missing: str, name: str, keys: Sequence[str], arguments: Sequence[Any]
    ) -> list[Any]:
        """Run a script again, after what it has asked for. Other calls run in between.

        Its first run has counted the call. Raises StoreUnavailable where it asks for too long.
        """
        names = self._scripts[name].args
        uncounted = [
            0 if argument == "calls_limit" else value
            for argument, value in zip(names, arguments, strict=True)
        ]
        give_up_at = time.monotonic() + MAX_PREPARE_SECONDS
        reply = [missing]
        while reply[0] in _PREPARATIONS:
            if time.monotonic() > give_up_at:
                raise StoreUnavailable(f"{name}: {_PREPARATIONS[reply[0]]}")
            if reply[0] == "SWEEP_FIRST":
                self._sweep(keys)
            else:
                self._index_unsaved_fields(keys, give_up_at)
            reply = self._scripts.run(self._redis, name, keys, uncounted)
        if name == "heartbeat":
            _set_joined(reply)
        return reply

    def _index_unsaved_fields(self, keys: Sequence[str], give_up_at: float) -> None:
        """Go on with the index of unsaved fields, at some ms a script, until it is complete or time is up.

        What is made of it by then stays.
        """
        no_fields = ("[]", "", "", self._lease_ms, new_nonce(), self._timeline_ms)
        while time.monotonic() < give_up_at:
            if self._scripts.run(self._redis, "check", keys[:6], no_fields)[0] != "INDEX_FIRST":
                return

    def _sweep(self, keys: Sequence[str]) -> None:
        """Sweep a record of which more leases are over than one script may sweep, at some ms each.

        Other calls run in between. Raises StoreUnavailable where it takes too long.
        """
        give_up_at = time.monotonic() + MAX_PREPARE_SECONDS
        next_ms = 0
        while next_ms == 0:
            if time.monotonic() > give_up_at:
                raise StoreUnavailable("watch: too many leases are over to sweep them now")
            arguments = (LIST_ALWAYS, 0, self._lease_ms, new_nonce(), self._timeline_ms, 0, 0)
            _, _, next_ms = self._scripts.run(self._redis, "watch", keys[:6], arguments)

    def _record(self, record_type: str, record_id: str | int) -> Record:
        is_integer = isinstance(record_id, int) and not isinstance(record_id, bool)
        name = str(record_id) if is_integer else record_id
        if errors := record_errors(record_type, name):
            raise InvalidPresence(errors)
        return Record(self._tenant, record_type, str(name))


def _set_joined(reply: list[Any]) -> None:
    """Let a heartbeat's reply say that the user may have joined: only its first run knew."""
    place = {"OK": 3, "TRIMMED": 4}.get(reply[0])
    if place is None:
        return
    if len(reply) == 2:
        reply += (0, 1)
    else:
        reply[place] = 1


def keys_with_quota(record: Record, quota: Quota | None) -> tuple[str, ...]:
    """The keys of a script that counts calls; without a quota it does not touch the seventh."""
    return (*record.keys, quota.key if quota else record.tabs_key)


def quota_arguments(quota: Quota | None) -> tuple[int, int]:
    """What such a script is told of the quota; a limit of 0 counts nothing."""
    return (quota.limit, quota.window_ms) if quota else (0, 0)


def version_argument(known_version: str | None) -> str:
    """What a script compares with the record's version, which is ASCII."""
    return known_version if known_version and known_version.isascii() else LIST_ALWAYS


@cache
def _shared_scripts() -> Scripts:
    return Scripts()
