"""Saves that must name the version that they were made from."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import models, router, transaction

from ...presence.results import SaveResult
from ...presence.validation import clean_name
from ...safe_writes.refusals import RecordChanged, Saved
from ...safe_writes.writer import Policy, Writer, ask, check_policies
from .mixin import Versioned, changed, reload
from .same_value import column_of, differing


def save_version(
    row: Versioned,
    lock_version: int,
    values: Mapping[str, Any],
    writer: Writer,
    *,
    claims: Policy = "advise",
    contested: Policy = "advise",
    using: str | None = None,
    on_announced: Callable[[SaveResult], None] | None = None,
) -> Saved:
    """Write `values` to the row, if `lock_version` is still the newest, and tell the viewers on commit.

    Values that change nothing make no new version: the field's `to_python` says what a value means. The
    writer is asked for just before the write, in one script call (at most 100 fields). With
    claims="refuse", FieldsClaimed is raised where another tab has claimed one of them; with
    contested="refuse", FieldsContested where somebody has unsaved changes in one; and with either of
    them StoreUnavailable where Redis can't say. With "advise" the save is done in any case.

    Raises RecordChanged and RecordDeleted. After any of these nothing is written, and `row` is as it
    was; after a save it holds what is stored. Within a transaction of the host's, the viewers are
    told when that one commits, and not if it is rolled back. Then `on_announced` is called with the
    answer, whose `touched` names the viewers with unsaved changes in the saved fields.
    """
    check_policies(writer, claims, contested)
    db = using or router.db_for_write(type(row), instance=row)
    stored = reload(row, db)
    if stored.lock_version != lock_version:
        raise changed(stored, dict(values))
    fields = differing(stored, values)
    # Before the transaction begins: none waits for Redis, unless the host has begun one.
    check = ask(writer, fields, lock_version, claims=claims, contested=contested)
    if not fields:
        row.refresh_from_db(using=db)
        return Saved(row.lock_version, [], row.as_data())
    for name in fields:
        _assign(stored, name, values[name])
    stored.saved_by = clean_name(writer.user_name)
    names = [column_of(type(row), name).name for name in fields]

    def announce() -> None:
        result = writer.announce(saved)
        if on_announced is not None:
            on_announced(result)

    try:
        with transaction.atomic(using=db):
            stored.save(using=db, update_fields=names)
            row.refresh_from_db(using=db)
            saved = Saved(row.lock_version, fields, row.as_data(), check)
            transaction.on_commit(announce, using=db, robust=True)
    except RecordChanged:  # another save came between our SELECT and our UPDATE
        raise changed(reload(row, db), dict(values)) from None
    return saved


def _assign(row: Any, name: str, value: Any) -> None:
    field = column_of(type(row), name)
    setattr(row, field.name if isinstance(value, models.Model) else field.attname, value)
