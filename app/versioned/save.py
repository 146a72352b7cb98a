"""Saves that must name the version that they were made from.

A save of an old version raises RecordChanged, which holds what is stored now.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from ..presence.validation import clean_name
from ..safe_writes.refusals import RecordChanged, RecordDeleted, Saved
from ..safe_writes.writer import Policy, Writer, ask, check_policies
from .mixin import Versioned, with_time_zone
from .same_value import is_same_value


def save_version(
    session: Session,
    row: Versioned,
    lock_version: int,
    values: Mapping[str, Any],
    *,
    by: str,
    writer: Writer | None = None,
    claims: Policy = "advise",
    contested: Policy = "advise",
) -> Saved:
    """Write `values` to the row and commit, if `lock_version` is still the newest.

    Values that change nothing make no new version, in whatever form they come: see
    `is_same_value`. Raises RecordChanged and
    RecordDeleted, and then nothing is written.

    With a `writer`, Redis is asked just before the write, in one call, who else is on the fields that
    change (at most 100): `check` of what is returned. With claims="refuse", FieldsClaimed is raised
    where another tab has claimed one of them; with contested="refuse", FieldsContested where somebody has
    unsaved changes in one; and with either of them StoreUnavailable where Redis can't say. With
    "advise" the save is done in any case. Raises ValueError for "refuse" without a writer.
    """
    check_policies(writer, claims, contested)
    model, identity = type(row), inspect(row).identity
    if row.lock_version != lock_version:  # the session may have loaded it long ago
        row = _reload(session, model, identity)
    if row.lock_version != lock_version:
        raise _changed(row, values)
    fields = _differing(row, values)
    check = ask(writer, fields, lock_version, claims=claims, contested=contested)
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
            raise _changed(found, values) from None
        session.refresh(row)  # as the database stored it
    # Before the commit: afterwards the row may already be the next version, saved by somebody else.
    saved = Saved(row.lock_version, fields, row.as_data(), check)
    session.commit()
    return saved


def _reload(session: Session, model: type[Versioned], identity: Any) -> Versioned:
    row = session.get(model, identity, populate_existing=True)
    if row is None:
        raise RecordDeleted
    return row


def _changed(row: Versioned, values: Mapping[str, Any]) -> RecordChanged:
    return RecordChanged(
        current=row.as_data(),
        lock_version=row.lock_version,
        saved_by=row.saved_by,
        saved_at=with_time_zone(row.saved_at),
        fields=_differing(row, values),
    )


def _differing(row: Versioned, values: Mapping[str, Any]) -> list[str]:
    """The fields in which the row differs, in the order of `values`."""
    columns = inspect(type(row)).column_attrs
    differing = []
    for name, value in values.items():
        column_type = columns[name].columns[0].type if name in columns else None
        if not is_same_value(getattr(row, name), value, column_type):
            differing.append(name)
    return differing
