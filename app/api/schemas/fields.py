"""Kinds of fields: how a value in a request is read, and what makes it valid."""

import json
import re
from typing import Any

from marshmallow import ValidationError, fields, validate

from ...presence import json_codec
from ...presence.codec import parse_user_id
from ...presence.errors import InvalidPresence
from ...presence.limits import (
    DEFAULT_LIMIT,
    MAX_FIELD_NAME_LENGTH,
    MAX_FIELD_NAMES,
    MAX_LOCK_VERSION,
    MAX_SENT_AT,
    MAX_USER_ID_LENGTH,
)
from ...presence.validation import (
    FIELD_NAME_RULE,
    TAB_ID_PATTERN,
    TAB_ID_RULE,
    UNPRINTABLE,
    USER_ID_RULE,
    is_field_name,
    is_user_id,
)

MAX_LIMIT = 1000  # viewers or entries in one answer
MAX_SIGNAL_BYTES = 1024  # of JSON
MAX_FIELD_ERRORS = 20  # in one answer, over all fields
MAX_ITEM_ERRORS = 5  # of one list
PRINTABLE = f"^[^{UNPRINTABLE}]+$"

_DIGITS = re.compile(r"-?[0-9]{1,20}\Z", re.ASCII)


class StrictBoolean(fields.Boolean):
    """true or false; not 1, "yes" or "off"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class StrictInteger(fields.Integer):
    """1, or 1.0, which is the same number in JSON; not "1" or true."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        value = _whole(value)
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class BoundedList(fields.List):  # type: ignore[type-arg]  # generic for type checkers only
    """A list whose length is checked before its items. It stops after MAX_ITEM_ERRORS wrong items."""

    def __init__(
        self, inner: "fields.Field[Any]", *, max_length: int, min_length: int | None = None, **options: Any
    ) -> None:
        self._check_length = validate.Length(min_length, max_length)
        super().__init__(inner, validate=self._check_length, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        self._check_length(value)
        items = []
        errors: dict[int, Any] = {}
        for index, item in enumerate(value):
            try:
                items.append(self.inner.deserialize(item, **kwargs))
            except ValidationError as error:
                errors[index] = error.messages
                if len(errors) == MAX_ITEM_ERRORS:
                    break
        if errors:
            raise ValidationError(errors)
        return items


class QueryInteger(fields.Integer):
    """Digits, with or without a minus; not everything else that Python reads as a number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not _DIGITS.match(value):
            raise self.make_error("invalid")
        return int(value)


class SentAt(StrictInteger):
    """Milliseconds of a client's own clock: an integer, or its digits in a query."""

    def __init__(self) -> None:
        super().__init__(
            validate=validate.Range(0, MAX_SENT_AT),
            metadata={
                "description": "When the client sent this, in ms of its own clock: it is compared only with "
                "other calls of the same tab, to tell a heartbeat from before a goodbye.",
                "example": 1795887132723,
            },
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and _DIGITS.match(value):
            value = int(value)
        return super()._deserialize(value, attr, data, **kwargs)


class UserId(fields.Raw):
    """An integer or a string, as in the caller's proof of identity."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | str:
        user_id: Any = _whole(value)
        if not is_user_id(user_id):
            raise ValidationError(USER_ID_RULE)
        return user_id  # type: ignore[no-any-return]  # checked by is_user_id


class QueryUserId(fields.String):
    """A user id in a query: digits are an integer, unless they stand in double quotes."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return parse_user_id(super()._deserialize(value, attr, data, **kwargs))
        except InvalidPresence:
            raise ValidationError(USER_ID_RULE) from None


def tab_id_field(**options: Any) -> fields.String:
    """A tab id; the rule is the same wherever there is one."""
    return fields.String(
        **{"required": True, **options},
        validate=validate.Regexp(TAB_ID_PATTERN, error=TAB_ID_RULE),
        metadata={"description": "One load of one page; made by the client.", "example": "tab-7f3c"},
    )


def user_id_field() -> UserId:
    """A user id."""
    return UserId(
        required=True,
        metadata={
            "type": ["integer", "string"],
            "minLength": 1,
            "maxLength": MAX_USER_ID_LENGTH,
            "description": "As in the user's proof of identity.",
        },
    )


def form_field_name(*, metadata: dict[str, Any] | None = None, **options: Any) -> fields.String:
    """The name of a form field."""
    usual = {"pattern": PRINTABLE, "minLength": 1, "maxLength": MAX_FIELD_NAME_LENGTH, "example": "title"}
    return fields.String(validate=_check_field_name, metadata={**usual, **(metadata or {})}, **options)


def form_field_names(**options: Any) -> BoundedList:
    """The names of form fields."""
    return BoundedList(form_field_name(), max_length=MAX_FIELD_NAMES, **options)


def lock_version_field(**options: Any) -> StrictInteger:
    """A version of a record, as the host's database counts it."""
    return StrictInteger(validate=validate.Range(0, MAX_LOCK_VERSION), **options)


def limit_field(default: int = DEFAULT_LIMIT) -> QueryInteger:
    """How many viewers, tabs or entries an answer may hold."""
    return QueryInteger(load_default=default, validate=validate.Range(1, MAX_LIMIT))


def check_signal_data(data: Any) -> None:
    """Raises ValidationError for more than MAX_SIGNAL_BYTES of JSON."""
    try:
        is_short = _is_short(data)
    except RecursionError:  # what could only just be read is written from deeper in the stack
        is_short = False
    if not is_short:
        raise ValidationError(f"Must be at most {MAX_SIGNAL_BYTES} bytes of JSON.")


def _is_short(data: Any) -> bool:
    try:
        # Without its spaces, but with orjson, since the standard library takes long over 64 KB.
        if len(json_codec.dumps(data)) > MAX_SIGNAL_BYTES:
            return False
    except UnicodeEncodeError:
        pass  # half a surrogate pair
    return len(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")) <= MAX_SIGNAL_BYTES


def _check_field_name(text: str) -> None:
    if not is_field_name(text):
        raise ValidationError(FIELD_NAME_RULE)


def _whole(value: Any) -> Any:
    """The integer for a float that is exactly one; every other value as it is."""
    is_whole = type(value) is float and abs(value) <= MAX_LOCK_VERSION and value.is_integer()
    return int(value) if is_whole else value
