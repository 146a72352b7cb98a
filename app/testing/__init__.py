"""For a host's own tests: presence in memory, in which people come, edit and leave by a line of code.

    with FakeService(app) as presence:
        alice = presence.join("order:7", "Alice")
        alice.edit("note")
        assert presence.names("order:7") == ["Alice"]

Needs the extra `embedded`, and no Redis. The twin for a browser's tests is `record-presence/testing`.
"""

from dataclasses import replace
from typing import Any, Self

from flask import Flask
from limits import parse

from ..api.extension import EXTENSION_NAME, PresenceExtension
from ..factory import make_extension
from ..identity.bearer import signing_key, symmetric_algorithm
from ..presence.conflicts import Claim
from ..presence.limits import DEFAULT_CLAIM_IDLE_SECONDS, MAX_TIMELINE_ENTRIES
from ..presence.results import SaveResult
from ..presence.service import RecordPresenceService
from ..presence.timeline import Entry
from ..presence.viewers import UserId, Viewer
from ..redis_client.client import connect
from ..tokens import sign

NO_RATE_LIMIT = parse("1000000000/minute")
TIMELINE_SECONDS = 3600

__all__ = ["FakePerson", "FakeService"]


class FakePerson:
    """One tab of somebody who has a record open. Whatever they do is seen at once by all others."""

    def __init__(self, service: "FakeService", record: str, user_id: UserId, name: str, tab_id: str) -> None:
        self.user_id, self.name, self.tab_id = user_id, name, tab_id
        self._service = service
        self._record = record_parts(record)
        self._mode = "view"
        self._unsaved: tuple[str, ...] = ()
        self._field: str | None = None
        self._beat()

    def view(self) -> None:
        """They only look, and have nothing unsaved."""
        self._mode, self._unsaved = "view", ()
        self._beat()

    def edit(self, *unsaved_fields: str) -> None:
        """They edit, and these are their unsaved fields."""
        self._mode, self._unsaved = "edit", unsaved_fields
        self._beat()

    def focus(self, field: str | None) -> None:
        """They are in this field; None: in no field."""
        self._field = field
        self._beat()

    def claim(self, field: str, *, take_over: bool = False, wait: bool = False) -> bool:
        """Whether they have the field now. Nobody can claim one without editing.

        With `wait`, they have it as soon as whoever has it lets it go, leaves, or is away for too long.
        """
        result = self._service.presence.claim_field(
            *self._record, self.tab_id, self.user_id, field, take_over=take_over, wait=wait
        )
        return result.is_granted

    def release(self, field: str) -> None:
        """They no longer work on this field, or wait for it. The first who waits has it then."""
        self._service.presence.release_field(*self._record, self.tab_id, self.user_id, field)

    def decline(self, field: str) -> int:
        """They send away those who wait for a field of theirs; how many these were."""
        presence = self._service.presence
        return presence.decline_waiting(*self._record, self.tab_id, self.user_id, field).declined

    def look_away(self) -> None:
        """They stay and are away, until they do something again."""
        self._beat(active=False)

    def save(self, lock_version: int, *fields: str) -> SaveResult:
        """They save a version, in which these fields have changed; nothing of theirs is unsaved any more.

        `touched` of the result: who has unsaved changes in the same fields.
        """
        presence = self._service.presence
        result = presence.announce_save(
            *self._record, lock_version, fields, self.user_id, self.name, self.tab_id, told_by="host"
        )
        self._unsaved = ()
        self._beat()
        return result

    def leave(self) -> None:
        """They close the tab."""
        self._service.presence.remove_presence(*self._record, self.tab_id, self.user_id)

    def _beat(self, *, active: bool = True) -> None:
        self._service.presence.update_presence(
            *self._record,
            self.tab_id,
            self.user_id,
            self.name,
            self._mode,
            bool(self._unsaved),
            active_field=self._field,
            dirty_fields=self._unsaved,
            active=active,
        )


class FakeService:
    """Presence in memory. With `app`, on which `init_app` was called, that application uses it meanwhile.

    In a `with`, or until `close()`; nothing of it is left afterwards. Calls are not limited in number.
    `redis` is a client of redis-py's kind for code that takes one, and `presence` the
    RecordPresenceService of the tenant.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        tenant: str = "1",
        claim_idle_seconds: float = DEFAULT_CLAIM_IDLE_SECONDS,
    ) -> None:
        """`claim_idle_seconds`: how long somebody may be away who has a field that others wait for.

        Raises SettingError without the extra `embedded`, and ValueError for an application without us."""
        self.tenant = tenant
        self.redis = connect(None)
        self._app = app
        self._tabs = 0
        self._replaced: PresenceExtension | None = None
        if app is None:
            self.presence = RecordPresenceService(
                self.redis,
                tenant,
                timeline_seconds=TIMELINE_SECONDS,
                claim_idle_seconds=claim_idle_seconds,
            )
            return
        if EXTENSION_NAME not in app.extensions:
            raise ValueError("init_app was not called on this application.")
        self._replaced = app.extensions[EXTENSION_NAME]
        self._extension = _in_memory(
            self._replaced, self.redis, is_debugging=app.debug, claim_idle_seconds=claim_idle_seconds
        )
        app.extensions[EXTENSION_NAME] = self._extension
        self.presence = self._extension.service(tenant)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the application back what it had before. May be called more than once."""
        if self._app is not None and self._replaced is not None:
            self._app.extensions[EXTENSION_NAME] = self._replaced
            self._replaced = None
            self._extension.broadcast.close()

    def join(self, record: str, name: str, user_id: UserId | None = None) -> FakePerson:
        """Somebody opens a record, such as `order:7`, in a new tab. Their id is their name in lower case."""
        self._tabs += 1
        return FakePerson(
            self, record, name.lower() if user_id is None else user_id, name, f"tab-{self._tabs}"
        )

    def viewers(self, record: str) -> list[Viewer]:
        """Who has a record open, as the calls answer it, in the order in which they came."""
        return self.presence.get_unique_viewers(*record_parts(record))

    def names(self, record: str) -> list[str]:
        """The names of those."""
        return [viewer["name"] for viewer in self.viewers(record)]

    def claims(self, record: str) -> dict[str, Claim]:
        """Who has which field, and who waits for it (`waiting`)."""
        conflicts = self.presence.list_viewers(*record_parts(record)).conflicts
        return conflicts.claims if conflicts else {}

    def saves(self, record: str) -> list[Entry]:
        """What viewers were told of saves, also by the host's own code: `lock_version`, `fields`, `user`."""
        entries = self.presence.get_timeline(*record_parts(record), limit=MAX_TIMELINE_ENTRIES).entries
        return [entry for entry in entries if entry["kind"] == "saved"]

    def headers(self, name: str, user_id: UserId | None = None, **claims: Any) -> dict[str, str]:
        """Headers with a token of this user that the application accepts; `records`, `role`: see `sign`.

        Raises ValueError without an application, and where tokens are verified with a public key.
        """
        if self._app is None:
            raise ValueError("Only an application verifies tokens.")
        settings = self._extension.settings
        algorithm = symmetric_algorithm(settings)
        user = name.lower() if user_id is None else user_id
        key = signing_key(settings)
        token = sign(user, name, key=key, tenant=self.tenant, algorithm=algorithm, **claims)
        return {"Authorization": f"Bearer {token}"}

    def fail(self) -> None:
        """From now on the store is away, and every call is answered with 503."""
        self._connect(False)

    def recover(self) -> None:
        """The store is there again, with all that it had."""
        self._connect(True)

    def _connect(self, is_connected: bool) -> None:
        self.redis.connection_pool.connection_kwargs["server"].connected = is_connected


def record_parts(record: str) -> tuple[str, str]:
    """`order:7` as type and id."""
    record_type, _, record_id = record.partition(":")
    return record_type, record_id


def _in_memory(
    replaced: PresenceExtension, redis: Any, *, is_debugging: bool, claim_idle_seconds: float
) -> PresenceExtension:
    settings = replace(
        replaced.settings,
        redis_url=None,
        rate_limit=NO_RATE_LIMIT,
        signal_rate_limit=NO_RATE_LIMIT,
        timeline_seconds=TIMELINE_SECONDS,
        claim_idle_seconds=claim_idle_seconds,
    )
    extension = make_extension(settings, redis, is_debugging=is_debugging)
    extension.load_identity = replaced.load_identity
    extension.operations = replaced.operations
    extension.bearer_tokens = replaced.bearer_tokens
    return extension
