"""Load plainly valid documents without marshmallow.

On every heartbeat, marshmallow's bookkeeping costs five times as much as its
validators. The rules are taken from the schema itself, so there is only one set
of them; a document that is not plainly valid goes to the schema, which says what
is wrong.
"""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from .schemas import BoundedList, SentAt, StrictBoolean, StrictInteger

_PLAIN = {fields.String: str, StrictBoolean: bool, StrictInteger: int, SentAt: int}


class FastSchema:
    """A schema of plain fields, whose `load` takes a fifth of the time of the schema's own."""

    def __init__(self, schema: Schema) -> None:
        """Raises TypeError for a schema that does more than check plain fields one at a time."""
        if schema.unknown != RAISE or schema.partial or any(schema._hooks.values()):
            raise TypeError(f"{type(schema).__name__} is not plain")
        self._schema = schema
        self._rules = {name: _rule(name, field) for name, field in schema.fields.items()}
        self._required = {name for name, field in schema.fields.items() if field.required}
        self._defaults = {
            name: field.load_default
            for name, field in schema.fields.items()
            if field.load_default is not missing
        }

    def load(self, document: Any) -> dict[str, Any]:
        """The document as the schema would load it. Raises ValidationError."""
        loaded: dict[str, Any] = self._load_fast(document) or self._schema.load(document)
        return loaded

    def _load_fast(self, document: Any) -> dict[str, Any] | None:
        """None where only the schema can tell whether the document is valid."""
        if type(document) is not dict or len(document) > len(self._rules):
            return None
        if not self._required <= document.keys():
            return None
        loaded = self._defaults | document
        try:
            for name, value in document.items():
                kind, validators, may_be_none = self._rules[name]
                if value is None and may_be_none:
                    continue
                if type(value) is not kind:
                    return None
                for validate in validators:
                    validate(value)
        except (KeyError, ValidationError):
            return None
        return loaded


def _rule(name: str, field: "fields.Field[Any]") -> tuple[type, list[Any], bool]:
    if type(field) is BoundedList:
        return list, [*field.validators, _each(_rule(name, field.inner))], field.allow_none
    if type(field) not in _PLAIN or field.data_key or field.attribute or callable(field.load_default):
        raise TypeError(f"the field {name} is not plain")
    return _PLAIN[type(field)], field.validators, field.allow_none


def _each(rule: tuple[type, list[Any], bool]) -> Any:
    """A validator of every item of a list."""
    kind, validators, _ = rule

    def validate(items: list[Any]) -> None:
        for item in items:
            if type(item) is not kind:
                raise ValidationError("not plain")
            for check in validators:
                check(item)

    return validate
