"""Answers to a save that was refused."""

from flask import Blueprint, Flask, Response

from ..api.responses import BadRequest, failure, failure_of
from ..identity.caller import Forbidden, Unauthenticated
from ..presence.errors import InvalidPresence
from .save import RecordChanged, RecordDeleted


def answer_refusals(app: Flask | Blueprint) -> None:
    """Answer in the envelope when a route refuses to save: 400, 401, 403, 404, 409, 413, 415, 422."""
    app.register_error_handler(RecordChanged, conflict)
    app.register_error_handler(RecordDeleted, lambda error: failure(404, str(error)))
    for refusal in (BadRequest, Forbidden, InvalidPresence, Unauthenticated):
        app.register_error_handler(refusal, failure_of)


def conflict(error: RecordChanged) -> Response:
    """409, with what a page needs to let its user choose: keep mine, take theirs, or compare."""
    data = {
        "current": error.current,
        "lock_version": error.lock_version,
        "saved_by": error.saved_by,
        "saved_at": error.saved_at.isoformat(),
        "fields": error.fields,
    }
    return failure(409, str(error), data=data)
