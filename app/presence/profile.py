"""What is shown of a user besides their name: a picture, some words, and whom an agent works for."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import json_codec
from .limits import MAX_ABOUT_BYTES, MAX_ABOUT_ENTRIES, MAX_PICTURE_LENGTH
from .validation import clean_name, is_field_name
from .viewers import AgentId, UserId

# Of a URL: printable ASCII, without what browsers would have to encode.
_PICTURE = re.compile(r"https://[!#-;=?-\[\]_a-z~]+\Z", re.ASCII)


class Profile(NamedTuple):
    """A profile as Redis holds it, once in a user's viewer entry; `digest` stands for it in their tabs."""

    text: str
    digest: str


def make_profile(user_id: UserId, picture: Any = None, about: Any = None) -> Profile | None:
    """The profile of a user; None where there is nothing to show.

    Leaves out a `picture` that is no https URL of at most 512 characters, and an `about` that is more
    than 8 strings, of 512 bytes with their names: whoever signs in elsewhere with the same token must
    not be kept out because of it.
    """
    shown: dict[str, Any] = {}
    if isinstance(picture, str) and len(picture) <= MAX_PICTURE_LENGTH and _PICTURE.match(picture):
        shown["picture"] = picture
    if texts := _clean_about(about):
        shown["about"] = texts
    if type(user_id) is AgentId:
        shown["for"] = clean_name(user_id.person_name)
    if not shown:
        return None
    text = json_codec.encode_text(shown)
    return Profile(text, hashlib.blake2s(text.encode("utf-8", "replace"), digest_size=4).hexdigest())


def _clean_about(about: Any) -> dict[str, str]:
    if not isinstance(about, Mapping) or not 0 < len(about) <= MAX_ABOUT_ENTRIES:
        return {}
    if not all(is_field_name(name) and isinstance(text, str) for name, text in about.items()):
        return {}
    texts = "".join([*about, *about.values()])
    if len(texts) > MAX_ABOUT_BYTES or len(texts.encode("utf-8", "replace")) > MAX_ABOUT_BYTES:
        return {}
    return {name: clean_name(text) for name, text in sorted(about.items())}
