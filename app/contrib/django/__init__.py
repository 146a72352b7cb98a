"""Saves of Django models under a version, so that nobody overwrites what they have not seen.

Needs Django, and neither Flask nor SQLAlchemy. Nothing goes into INSTALLED_APPS.
"""

try:
    import django as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "django":
        raise
    message = "record_presence.contrib.django needs Django: pip install 'record-presence[django]'"
    raise ModuleNotFoundError(message, name="django") from None

from ...presence.results import SaveResult
from ...safe_writes.refusals import (
    FieldsClaimed,
    FieldsContested,
    FieldsHeld,
    RecordChanged,
    RecordDeleted,
    Saved,
)
from ...safe_writes.writer import HeldField, SaveCheck, Writer, check_before_save
from .http import AnswerRefusals, refusal_response
from .mixin import Versioned
from .presence import presence_service, writer_of
from .save import save_version

__all__ = [
    "AnswerRefusals",
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
    "check_before_save",
    "presence_service",
    "refusal_response",
    "save_version",
    "writer_of",
]
