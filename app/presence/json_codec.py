"""JSON, with orjson (extra `server`, ten times as fast) or else with the standard library.

Both read the same documents and write the same compact UTF-8, with one exception: orjson reads an
integer of more than 64 bits as a float. Use `json.loads` for user ids, which may be that long.
"""

import json
from collections.abc import Callable
from typing import Any

encode_text: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dumps_with_standard_library(value: Any) -> bytes:
    return encode_text(value).encode()


loads: Callable[[str | bytes], Any] = json.loads
dumps: Callable[[Any], bytes] = _dumps_with_standard_library

try:
    import orjson
except ImportError:
    pass
else:

    def _dumps_with_orjson(value: Any) -> bytes:
        try:
            return orjson.dumps(value)
        except orjson.JSONEncodeError:  # an integer of more than 64 bits
            return _dumps_with_standard_library(value)

    loads, dumps = orjson.loads, _dumps_with_orjson
