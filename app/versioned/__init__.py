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

from ..presence.results import SaveResult
from ..safe_writes.connection import presence_service
from ..safe_writes.refusals import (
    FieldsClaimed,
    FieldsContested,
    FieldsHeld,
    RecordChanged,
    RecordDeleted,
    Saved,
)
from ..safe_writes.writer import HeldField, SaveCheck, Writer, check_before_save
from .announcements import announce, writer_of
from .http import answer_refusals, conflict, held
from .mixin import Versioned
from .save import save_version

__all__ = [
    "FieldsClaimed",
    "FieldsContested",
    "FieldsHeld",
    "HeldField",
    "RecordChanged",
    "RecordDeleted",
    "SaveCheck",
    "SaveResult",
    "Saved",
    "Versioned",
    "Writer",
    "announce",
    "answer_refusals",
    "check_before_save",
    "conflict",
    "held",
    "presence_service",
    "save_version",
    "writer_of",
]
