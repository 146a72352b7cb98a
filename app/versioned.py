"""Records of a host whose saves must name the version that they were made from.

For SQLAlchemy models of your own, the demo's as well as a host's: README,
"Conflicts". A save of an old version raises RecordChanged, which is a 409 that
tells what stands there now.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from flask import Blueprint, Flask, Response
from sqlalchemy import DateTime, String, inspect
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from app.api.extension import presence
from app.api.responses import BadRequest, failure, failure_of
from app.identity.caller import Caller, Forbidden, Unauthenticated
from app.presence.errors import InvalidPresence, PresenceError, StoreUnavailable
from app.presence.records import LONGEST_USER_NAME, clean_name
from app.untold import Announcement, Untold

log = logging.getLogger("presence.versioned")

_untold = Untold()


class Versioned:
    """Columns that a model mixes in. SQLAlchemy counts `lock_version` up with each UPDATE.

    An UPDATE of an old version finds no row, whatever happened between the
    SELECT and it.
    """

    lock_version: Mapped[int] = mapped_column()
    saved_by: Mapped[str] = mapped_column(String(LONGEST_USER_NAME), default="")
    saved_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
        return {"version_id_col": cls.lock_version}

    def as_data(self) -> dict[str, Any]:
        """The row for JSON: every column, times in ISO 8601. Override it to show less, or more."""
        columns = inspect(type(self)).column_attrs
        return {column.key: _json_ready(getattr(self, column.key)) for column in columns}


@dataclass(frozen=True, slots=True)
class Saved:
    """A version that was saved, as it was at that moment; `fields` are those that this save changed."""

    lock_version: int
    fields: list[str]
    data: dict[str, Any]


class RecordChanged(Exception):
    """Somebody saved since the version that the caller had loaded. Nothing was written.

    `current` is what stands there now, as the model's `as_data` tells it;
    `fields` are those in which it differs from what was to be saved.
    """

    def __init__(self, row: Versioned, values: Mapping[str, Any]) -> None:
        super().__init__(f"{row.saved_by or 'Somebody'} saved version {row.lock_version} in the meantime.")
        self.current = row.as_data()
        self.lock_version = row.lock_version
        self.saved_by = row.saved_by
        self.saved_at = _with_zone(row.saved_at)
        self.fields = _differing(row, values)


class RecordDeleted(Exception):
    """Somebody deleted the row since it was loaded."""

    def __init__(self) -> None:
        super().__init__("Somebody deleted this record in the meantime.")


def save_version(
    session: Session, row: Versioned, lock_version: int, values: Mapping[str, Any], *, by: str
) -> Saved:
    """Write `values` to the row and commit, if `lock_version` still is the newest.

    Values that change nothing make no version. Raises RecordChanged and
    RecordDeleted; then nothing is written.
    """
    model, identity = type(row), inspect(row).identity
    if row.lock_version != lock_version:  # the session may have had it for a while
        row = _read_anew(session, model, identity)
    if row.lock_version != lock_version:
        raise RecordChanged(row, values)
    fields = _differing(row, values)
    if fields:
        for name in fields:
            setattr(row, name, values[name])
        row.saved_at, row.saved_by = datetime.now(UTC), clean_name(by)
        try:
            session.flush()
        except StaleDataError:  # somebody came between the SELECT and our UPDATE
            session.rollback()
            found = _read_anew(session, model, identity)
            if found.lock_version == lock_version:  # it was another row of this flush
                raise
            raise RecordChanged(found, values) from None
        session.refresh(row)  # as the database tells it
    # Before the commit: after it, the row may be somebody else's next version.
    saved = Saved(row.lock_version, fields, row.as_data())
    session.commit()
    return saved


def _read_anew(session: Session, model: type[Versioned], identity: Any) -> Versioned:
    row = session.get(model, identity, populate_existing=True)
    if row is None:
        raise RecordDeleted
    return row


def announce(
    caller: Caller, record_type: str, record_id: str | int, saved: Saved, *, tab_id: str | None = None
) -> bool:
    """Tell the record's viewers of a save, in the caller's name; False when nobody was told yet.

    Needs an application with the service in it. Never raises: the save is done,
    and presence out of reach costs it the time of one call at most. Then this
    process tells it again, for five minutes, unless it ends before.
    """
    if not saved.fields:
        return False
    announcement = Announcement(
        presence().service(caller.tenant),
        *(record_type, record_id, saved.lock_version, saved.fields),
        *(caller.user_id, caller.user_name, tab_id),
    )
    try:
        return announcement.tell()
    except PresenceError as error:
        log.warning("a save was not announced", extra=announcement.for_log(error=str(error)))
        if isinstance(error, StoreUnavailable):
            _untold.add(announcement)
        return False


def answer_refusals(app: Flask | Blueprint) -> None:
    """Answer in the envelope why a route did not save: a conflict, a caller who may not, a bad body."""
    app.register_error_handler(RecordChanged, conflict)
    app.register_error_handler(RecordDeleted, lambda error: failure(404, str(error)))
    for refusal in (BadRequest, Forbidden, InvalidPresence, Unauthenticated):
        app.register_error_handler(refusal, failure_of)


def conflict(error: RecordChanged) -> Response:
    """409, with all that a page needs to let its user choose: keep mine, take theirs, compare."""
    data = {
        "current": error.current,
        "lock_version": error.lock_version,
        "saved_by": error.saved_by,
        "saved_at": error.saved_at.isoformat(),
        "fields": error.fields,
    }
    return failure(409, str(error), data=data)


def _differing(row: Versioned, values: Mapping[str, Any]) -> list[str]:
    """The fields in which the row says something else, in the order of `values`."""
    return [name for name, value in values.items() if getattr(row, name) != value]


def _with_zone(moment: datetime) -> datetime:
    """SQLite keeps no zone; ours are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json_ready(value: Any) -> Any:
    if isinstance(value, datetime):
        return _with_zone(value).isoformat()
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)  # a Decimal, a UUID
