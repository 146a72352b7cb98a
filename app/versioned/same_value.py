"""Whether a value is the one that a column holds already, in whatever form each of them came.

A database, its driver and a form in a browser each give a value back in a form of their own.
The column's type says what it means: "5" is 5 in a column of integers, and another text than
"05" in one of strings.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import types

from .mixin import with_time_zone

NormalForm = Callable[[Any], Any]  # raises ValueError or TypeError for what is no value of the type

_TRUE = frozenset({"1", "true", "on", "yes", "t", "y"})  # a checkbox says "on"
_FALSE = frozenset({"0", "false", "off", "no", "f", "n"})


def is_same_value(stored: Any, value: Any, column_type: types.TypeEngine[Any] | None = None) -> bool:
    """Whether saving `value` over `stored` would change nothing.

    None and "" are two values in a column of strings or of JSON. In any other one, "" is what a form
    sends for nothing, and the same as None. A moment without a zone is in UTC.
    """
    if stored is value:
        return True
    normal_form = _normal_form_of(stored, column_type)
    if normal_form is None:
        return _is_equal(stored, value)
    if normal_form not in (_text, _json):
        stored, value = (None if each == "" else each for each in (stored, value))
    if stored is None or value is None:
        return stored is None and value is None
    try:
        return bool(normal_form(stored) == normal_form(value))
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return _is_equal(stored, value)  # no value of this type: the database is to judge


def _is_equal(stored: Any, value: Any) -> bool:
    try:
        return bool(stored == value)
    except Exception:  # an array of NumPy, say
        return False


def _normal_form_of(stored: Any, column_type: types.TypeEngine[Any] | None) -> NormalForm | None:
    """By the type of the column; by that of the stored value where the column's is a host's own."""
    if isinstance(column_type, types.Enum):
        return _member_of(column_type.enum_class)
    if isinstance(stored, Enum):
        return _member_of(type(stored))
    for kind, normal_form in _BY_COLUMN_TYPE.items():
        if isinstance(column_type, kind):
            return normal_form
    for stored_type, normal_form in _BY_STORED_TYPE.items():
        if isinstance(stored, stored_type):
            return normal_form
    return None


def _member_of(enum_class: type[Enum] | None) -> NormalForm:
    """A member may come as itself, as its name (what the database holds) or as its value."""

    def member(value: Any) -> Any:
        if enum_class is None or isinstance(value, enum_class):
            return value
        return enum_class.__members__.get(value) or enum_class(value)

    return member


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
    if isinstance(value, bool | int | float | Decimal) and value in (0, 1):
        return bool(value)
    raise ValueError(f"not a boolean: {value!r}")


def _number(value: Any) -> Decimal | str:
    """Exact, but a float means the digits that Python writes for it: 0.1 is Decimal("0.1")."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError(f"not a number: {value!r}")
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, str) and "_" in text:
        raise ValueError(f"not a number: {value!r}")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a number: {value!r}") from None
    return "NaN" if number.is_nan() else number


def _float(value: Any) -> float | str:
    number = float(_number(value))
    return "NaN" if math.isnan(number) else number


def _moment(value: Any) -> datetime:
    """In UTC. Without a zone it is UTC already, as `with_time_zone` has it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    elif type(value) is date:
        value = datetime(value.year, value.month, value.day)
    return with_time_zone(value).astimezone(UTC)


def _day(value: Any) -> date:
    if isinstance(value, str):
        text = value.strip()
        return date.fromisoformat(text) if len(text) <= len("2026-11-28") else _midnight(_parsed(text))
    return _midnight(value) if isinstance(value, datetime) else date(value.year, value.month, value.day)


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _midnight(moment: datetime) -> date:
    """The day of a moment that says nothing else; raises ValueError for any other."""
    if moment.time() != time():
        raise ValueError(f"not a day: {moment}")
    return moment.date()


def _time_of_day(value: Any) -> time:
    if isinstance(value, str):
        return time.fromisoformat(value.strip())
    if isinstance(value, timedelta):  # MySQL's drivers give these
        return (datetime.min + value).time()
    if not isinstance(value, time):
        raise ValueError(f"not a time of day: {value!r}")
    return value


def _text(value: Any) -> str:
    """Lines end as a form in a browser sends them, or not."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r}")
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ValueError("not bytes")
    return bytes(value)


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    return UUID(bytes=bytes(value)) if isinstance(value, bytes | memoryview) else UUID(str(value).strip())


def _json(value: Any) -> str:
    """Members in any order; 1.0 is 1, and true is another value."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_BY_COLUMN_TYPE: dict[Any, NormalForm] = {
    types.Boolean: _boolean,
    types.Integer: _number,
    types.Float: _float,  # a kind of Numeric
    types.Numeric: _number,
    types.DateTime: _moment,
    types.Date: _day,
    types.Time: _time_of_day,
    types.Uuid: _uuid,
    types.JSON: _json,
    types.LargeBinary: _bytes,
    types.String: _text,
}
_BY_STORED_TYPE: dict[Any, NormalForm] = {
    bool: _boolean,  # a kind of int
    int: _number,
    float: _float,
    Decimal: _number,
    datetime: _moment,  # a kind of date
    date: _day,
    time: _time_of_day,
    UUID: _uuid,
    (dict, list, tuple): _json,
    (bytes, bytearray, memoryview): _bytes,
    str: _text,
}
