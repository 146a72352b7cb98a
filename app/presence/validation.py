"""The rules for names and values, wherever they come from. HTTP's schemas take theirs from here."""

import re
from collections.abc import Sequence
from typing import Any

from .errors import InvalidPresence
from .limits import (
    MAX_ARRIVAL,
    MAX_FIELD_NAME_LENGTH,
    MAX_FIELD_NAMES,
    MAX_LOCK_VERSION,
    MAX_SECONDS,
    MAX_USER_ID_LENGTH,
    MAX_USER_NAME_LENGTH,
    NO_LIMIT,
)
from .viewers import MODES

RECORD_TYPE_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}\Z", re.ASCII)
RECORD_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
TAB_ID_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z", re.ASCII)
TAB_CURSOR_PATTERN = re.compile(r"([0-9]{1,16}-[A-Za-z0-9_.:-]{1,128})?\Z", re.ASCII)
OPEN_CURSOR_PATTERN = re.compile(r"([0-9]{1,16}-[A-Za-z0-9_:-]{1,129})?\Z", re.ASCII)
ENTRY_ID_PATTERN = re.compile(r"[0-9]{1,16}-[0-9]{1,16}\Z", re.ASCII)
REMOVAL_REASONS = ("left", "evicted")

# For a character class: control characters, spaces other than U+0020, invisible characters, those that
# change the direction of writing, private use. Spelled out, because `str.isprintable` depends on the
# Unicode version of this Python, and other languages have no equal of it.
UNPRINTABLE = (
    r"\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\\ue000-\\uf8ff\\ufeff\\ufff0-\\ufffb\U000e0000-\U0010ffff"
)
_UNPRINTABLE = re.compile(rf"[{UNPRINTABLE}\ud800-\udfff]")
_SPACES = re.compile(r"[\t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
# The joiners of Persian, of Indian scripts and of emoji belong to names.
_INVISIBLE = re.compile(rf"(?![\u200c\u200d])[{UNPRINTABLE}]")
_USER_ID_BOUND = 10**MAX_USER_ID_LENGTH

RECORD_TYPE_RULE = "Must be a lower-case letter and up to 63 of a-z, 0-9 and _."
TAB_ID_RULE = "Must be 1 to 128 of A-Z, a-z, 0-9, _, ., : and -."
TAB_CURSOR_RULE = "Must be the `next` of an earlier page."
ENTRY_ID_RULE = "Must be the id of a timeline entry."
FIELD_NAME_RULE = f"Must be 1 to {MAX_FIELD_NAME_LENGTH} printable characters."
USER_ID_RULE = (
    f"Must be an integer of up to {MAX_USER_ID_LENGTH} digits, or a string of 1 to {MAX_USER_ID_LENGTH}"
    " characters."
)


def record_errors(record_type: Any, record_id: Any) -> dict[str, list[str]]:
    """Error messages by field for the two parts of a record's name; empty if both are valid."""
    errors = {}
    if not isinstance(record_type, str) or not RECORD_TYPE_PATTERN.match(record_type):
        errors["type"] = [RECORD_TYPE_RULE]
    if not isinstance(record_id, str) or not RECORD_ID_PATTERN.match(record_id):
        errors["id"] = ["Must be 1 to 64 of A-Z, a-z, 0-9, _ and -."]
    return errors


def is_user_id(value: Any) -> bool:
    """Whether this can be a user's id: a bounded integer, or a bounded non-empty string."""
    if isinstance(value, str):
        # Unlike in a name, half a surrogate pair can't be replaced: it would become another user's id.
        return 0 < len(value) <= MAX_USER_ID_LENGTH and is_well_formed(value)
    return isinstance(value, int) and not isinstance(value, bool) and -_USER_ID_BOUND < value < _USER_ID_BOUND


def is_field_name(text: Any) -> bool:
    """Whether this can name a form field: printable, so that it can be shown and stored anywhere."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_FIELD_NAME_LENGTH:
        return False
    return text.isprintable() if text.isascii() else not _UNPRINTABLE.search(text)


def is_well_formed(text: str) -> bool:
    """Whether the text can be encoded as UTF-8: it has no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_name(name: str) -> str:
    """A user's name as it is stored: cut to its maximum length, and `?` for half a surrogate pair.

    New lines and other spaces become a space. Controls, and what changes the direction of writing, are
    left out, so that a name can't disturb the text around it.

    Raises InvalidPresence for anything but a string.
    """
    if not isinstance(name, str):
        raise InvalidPresence({"user_name": ["Must be a string."]})
    name = name[:MAX_USER_NAME_LENGTH]
    if name.isascii() and name.isprintable():
        return name
    name = _INVISIBLE.sub("", _SPACES.sub(" ", name))
    return name.encode("utf-8", "replace").decode("utf-8")


# Each of these raises InvalidPresence.


def check_tab(tab_id: str, mode: str = "view", active_field: str | None = None) -> None:
    errors: dict[str, list[str]] = {}
    if not isinstance(tab_id, str) or not TAB_ID_PATTERN.match(tab_id):
        errors["tab_id"] = [TAB_ID_RULE]
    if mode not in MODES:
        errors["mode"] = [f"Must be one of: {', '.join(MODES)}."]
    if active_field is not None and not is_field_name(active_field):
        errors["active_field"] = [FIELD_NAME_RULE]
    if errors:
        raise InvalidPresence(errors)


def check_field_names(argument: str, names: Sequence[str]) -> None:
    try:
        if not isinstance(names, str) and len(names) <= MAX_FIELD_NAMES and all(map(is_field_name, names)):
            return
    except TypeError:  # not a sequence at all
        pass
    each = f"1 to {MAX_FIELD_NAME_LENGTH} printable characters"
    raise InvalidPresence({argument: [f"Must be up to {MAX_FIELD_NAMES} names of {each}."]})


def check_lock_version(argument: str, version: int) -> None:
    if type(version) is not int or not 0 <= version <= MAX_LOCK_VERSION:
        raise InvalidPresence({argument: [f"Must be an integer, 0 to {MAX_LOCK_VERSION}."]})


def check_limit(limit: int) -> None:
    if type(limit) is not int or not 1 <= limit <= NO_LIMIT:
        raise InvalidPresence({"limit": ["Must be an integer of at least 1."]})


def check_arrival(argument: str, arrival: int) -> None:
    if type(arrival) is not int or not 0 <= arrival <= MAX_ARRIVAL:
        raise InvalidPresence({argument: [f"Must be an integer, 0 to {MAX_ARRIVAL}."]})


def check_tab_cursor(argument: str, cursor: str) -> None:
    if not isinstance(cursor, str) or not TAB_CURSOR_PATTERN.match(cursor):
        raise InvalidPresence({argument: [TAB_CURSOR_RULE]})


def check_open_cursor(argument: str, cursor: str) -> None:
    if not isinstance(cursor, str) or not OPEN_CURSOR_PATTERN.match(cursor):
        raise InvalidPresence({argument: [TAB_CURSOR_RULE]})


def check_removal_reason(reason: str) -> None:
    if reason not in REMOVAL_REASONS:
        raise InvalidPresence({"reason": [f"Must be one of: {', '.join(REMOVAL_REASONS)}."]})


def check_entry_id(argument: str, entry_id: str) -> None:
    if not isinstance(entry_id, str) or not ENTRY_ID_PATTERN.match(entry_id):
        raise InvalidPresence({argument: [ENTRY_ID_RULE]})


def check_seconds(argument: str, seconds: float) -> None:
    if not is_number(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise InvalidPresence({argument: [f"Must be a number of seconds, up to {MAX_SECONDS}."]})


def is_number(value: Any) -> bool:
    """Whether this is a number; NaN is not."""
    return isinstance(value, (int, float)) and value == value
