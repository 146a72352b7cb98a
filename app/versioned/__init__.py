"""Saves of a host's own records under a version, so that nobody overwrites what they have not seen.

Needs SQLAlchemy: `pip install 'record-presence[versioned]'`.
"""

try:
    import sqlalchemy as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sqlalchemy":
        raise
    message = "record_presence.versioned needs SQLAlchemy: pip install 'record-presence[versioned]'"
    raise ModuleNotFoundError(message, name="sqlalchemy") from None

from .announcements import announce
from .http import answer_refusals, conflict
from .mixin import Versioned
from .save import RecordChanged, RecordDeleted, Saved, save_version

__all__ = [
    "RecordChanged",
    "RecordDeleted",
    "Saved",
    "Versioned",
    "announce",
    "answer_refusals",
    "conflict",
    "save_version",
]
