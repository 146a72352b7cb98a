"""The fields that a Django model mixes in to have its saves checked against a version."""

from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

from django.db import models, router, transaction
from django.utils import timezone

from ...presence.limits import MAX_USER_NAME_LENGTH
from ...safe_writes.refusals import RecordChanged, RecordDeleted
from .same_value import differing, values_of

VERSION_FIELDS = ("lock_version", "saved_by", "saved_at")


class Versioned(models.Model):
    """Fields for a model. Each `save` of a row that is stored increments `lock_version`.

    A save of an old version raises RecordChanged, and writes nothing. QuerySet.update() and
    bulk_update() go past it, as they go past every `save`.
    """

    lock_version = models.PositiveBigIntegerField(default=1, editable=False)
    saved_by = models.CharField(max_length=MAX_USER_NAME_LENGTH, default="", blank=True, editable=False)
    saved_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True

    def save(
        self,
        *,
        force_insert: bool = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """As Django's, if `lock_version` is still the newest. Raises RecordChanged and RecordDeleted.

        A new row is only inserted, also one that is given the key of a row that is stored. Set
        `saved_by` before, or use `save_version`.
        """
        if (self._state.adding or self.pk is None or force_insert) and not force_update:
            super().save(force_insert=True, using=using, update_fields=update_fields)
            return
        if update_fields is not None:
            if not (update_fields := set(update_fields)):
                return  # as Django does
            update_fields |= set(VERSION_FIELDS)
        using = using or router.db_for_write(type(self), instance=self)
        loaded, saved_at = self.lock_version, self.saved_at
        try:
            with transaction.atomic(using=using):
                # The row is locked by this, until the end of the transaction.
                rows = stored_rows(type(self), using).filter(pk=self.pk, lock_version=loaded)
                if not rows.update(lock_version=loaded + 1):
                    raise changed(reload(self, using), values_of(self, VERSION_FIELDS))
                self.lock_version, self.saved_at = loaded + 1, timezone.now()
                super().save(force_update=True, using=using, update_fields=update_fields)
        except BaseException:
            self.lock_version, self.saved_at = loaded, saved_at
            raise

    def as_data(self) -> dict[str, Any]:
        """The row as JSON can hold it: every field that has a column. Override it to show less, or more."""
        return {
            field.name: _json_ready(field, field.value_from_object(self))
            for field in self._meta.concrete_fields
        }


def stored_rows(model: Any, using: str) -> Any:
    """All rows, whatever a manager of the model leaves out."""
    return model._base_manager.using(using)


def reload(row: Any, using: str) -> Any:
    """The row as it is stored now. Raises RecordDeleted."""
    found = stored_rows(type(row), using).filter(pk=row.pk).first()
    if found is None:
        raise RecordDeleted
    return found


def changed(stored: Any, values: dict[str, Any]) -> RecordChanged:
    """What tells a caller what is stored now, and in which of these values it differs."""
    return RecordChanged(
        current=stored.as_data(),
        lock_version=stored.lock_version,
        saved_by=stored.saved_by,
        saved_at=stored.saved_at,
        fields=differing(stored, values),
    )


def _json_ready(field: Any, value: Any) -> Any:
    if value is None or isinstance(value, str | int | float) or isinstance(field, models.JSONField):
        return value
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)
