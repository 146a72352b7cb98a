"""Which values a save would change, in whatever form a form, a job or a database gives them."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone


def column_of(model: Any, name: str) -> Any:
    """The field of a model that has a column. Raises FieldDoesNotExist and ValueError."""
    field = model._meta.get_field(name)
    if not getattr(field, "column", None):
        raise ValueError(f"{name} has no column.")
    return field


def differing(row: Any, values: Mapping[str, Any]) -> list[str]:
    """The names in which the row differs, in the order of `values`."""
    columns = ((name, column_of(type(row), name)) for name in values)
    return [
        name for name, field in columns if not _is_same(field, field.value_from_object(row), values[name])
    ]


def values_of(row: Any, left_out: Iterable[str]) -> dict[str, Any]:
    """What the row holds in memory, by the field's name; a related row by its key."""
    fields, deferred = row._meta.concrete_fields, row.get_deferred_fields()
    return {
        field.name: field.value_from_object(row)
        for field in fields
        if field.name not in left_out and field.attname not in deferred
    }


def _is_same(field: Any, stored: Any, value: Any) -> bool:
    """By what `to_python` makes of both. What it can't read is a change: the database judges it."""
    try:
        return bool(_normal_form(field, stored) == _normal_form(field, value))
    except (ValidationError, TypeError, ValueError, ArithmeticError):
        return False


def _normal_form(field: Any, value: Any) -> Any:
    if field.is_relation:
        field = field.target_field
        value = getattr(value, field.attname) if isinstance(value, models.Model) else value
    if isinstance(field, models.JSONField):
        return json.dumps(value, sort_keys=True, cls=field.encoder)
    if value == "" and not field.empty_strings_allowed:
        return None  # an input that was left empty
    value = field.to_python(value)
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")  # as a form sends them, or not
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, datetime) and settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value)
    return value
