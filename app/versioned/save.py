"""Saves that must name the version that they were made from.

A save of an old version raises RecordChanged, which holds what is stored now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from ..presence.validation import clean_name
from .mixin import Versioned, with_time_zone
from .same_value import is_same_value


@dataclass(frozen=True, slots=True)
class Saved:
    """A version right after it was saved; `fields` are those that this save changed."""

    lock_version: int
    fields: list[str]
    data: dict[str, Any]


class RecordChanged(Exception):
    """The row was saved by somebody else after the version that the caller had loaded. Nothing was written.

    `current` is what is stored now, as the model's `as_data` returns it; `fields`
    are those in which it differs from what was to be saved.
    """

    def __init__(self, row: Versioned, values: Mapping[str, Any]) -> None:
        super().__init__(f"{row.saved_by or 'Somebody'} saved version {row.lock_version} in the meantime.")
        self.current = row.as_data()
        self.lock_version = row.lock_version
        self.saved_by = row.saved_by
        self.saved_at = with_time_zone(row.saved_at)
        self.fields = _differing(row, values)


class RecordDeleted(Exception):
    """Somebody deleted the row since it was loaded."""

    def __init__(self) -> None:
        super().__init__("Somebody deleted this record in the meantime.")


def save_version(
    session: Session, row: Versioned, lock_version: int, values: Mapping[str, Any], *, by: str
) -> Saved:
    """Write `values` to the row and commit, if `lock_version` is still the newest.

    Values that change nothing make no new version, in whatever form they come: see
    `is_same_value`. Raises RecordChanged and
    RecordDeleted, and then nothing is written.
    """
    model, identity = type(row), inspect(row).identity
    if row.lock_version != lock_version:  # the session may have loaded it long ago
        row = _reload(session, model, identity)
    if row.lock_version != lock_version:
        raise RecordChanged(row, values)
    fields = _differing(row, values)
    if fields:
        for name in fields:
            setattr(row, name, values[name])
        row.saved_at, row.saved_by = datetime.now(UTC), clean_name(by)
        try:
            session.flush()
        except StaleDataError:  # another save came between our SELECT and our UPDATE
            session.rollback()
            found = _reload(session, model, identity)
            if found.lock_version == lock_version:  # it was another row of this flush
                raise
            raise RecordChanged(found, values) from None
        session.refresh(row)  # as the database stored it
    # Before the commit: afterwards the row may already be the next version, saved by somebody else.
    saved = Saved(row.lock_version, fields, row.as_data())
    session.commit()
    return saved


def _reload(session: Session, model: type[Versioned], identity: Any) -> Versioned:
    row = session.get(model, identity, populate_existing=True)
    if row is None:
        raise RecordDeleted
    return row


def _differing(row: Versioned, values: Mapping[str, Any]) -> list[str]:
    """The fields in which the row differs, in the order of `values`."""
    columns = inspect(type(row)).column_attrs
    differing = []
    for name, value in values.items():
        column_type = columns[name].columns[0].type if name in columns else None
        if not is_same_value(getattr(row, name), value, column_type):
            differing.append(name)
    return differing
