"""What is wrong with each field of a request, within bounds: anybody may send thousands of wrong fields."""

from marshmallow import ValidationError

from ..presence import json_codec
from .schemas import MAX_FIELD_ERRORS

MAX_ERRORS_BYTES = 7 * 1024  # of JSON; with the envelope the answer has at most 8 KiB
MAX_NAME_LENGTH = 64  # characters of a field's name that are repeated; names of ours are shorter
REST = "..."  # in the place of a field's name


def errors_by_field(error: ValidationError) -> dict[str, list[str]]:
    """One list of messages for each field, also for errors inside a list."""
    errors: dict[str, list[str]] = {}
    for name, messages in error.normalized_messages().items():  # type: ignore[no-untyped-call]
        if isinstance(messages, dict):
            messages = [f"{_shortened(str(at))}: {text}" for at, texts in messages.items() for text in texts]
        errors[str(name).strip("_") if name == "_schema" else str(name)] = messages
    return errors


def limit_errors(errors: dict[str, list[str]]) -> dict[str, list[str]]:
    """The first MAX_FIELD_ERRORS messages, within MAX_ERRORS_BYTES; then a note that there are more."""
    limited: dict[str, list[str]] = {}
    count = size = 0
    for name, messages in errors.items():
        name = _shortened(name)
        size += _size(name)
        for message in messages:
            size += _size(message)
            if count == MAX_FIELD_ERRORS or size > MAX_ERRORS_BYTES:
                limited[REST] = ["There are more errors."]
                return limited
            limited.setdefault(name, []).append(message)
            count += 1
    return limited


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…"


def _size(text: str) -> int:
    """Bytes of JSON, with what stands around them."""
    return len(json_codec.encode_text(text).encode("utf-8", "replace")) + len('"":[],')
