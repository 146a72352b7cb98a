"""Answers to a save that was refused."""

from flask import Blueprint, Flask, Response

from ..api.responses import BadRequest, failure, failure_of
from ..identity.caller import Forbidden, Unauthenticated
from ..presence.errors import InvalidPresence, StoreUnavailable, TabOwnedByAnotherUser
from ..safe_writes.refusals import FieldsClaimed, FieldsContested, FieldsHeld, RecordChanged, RecordDeleted


def answer_refusals(app: Flask | Blueprint) -> None:
    """Answer in the envelope when a route refuses to save.

    400, 401, 403, 404, 409, 413, 415, 422, 423, and 503 where Redis can't say who is on the fields.
    """
    app.register_error_handler(RecordChanged, conflict)
    app.register_error_handler(RecordDeleted, lambda error: failure(404, str(error)))
    app.register_error_handler(FieldsClaimed, held)
    app.register_error_handler(FieldsContested, held)
    for refusal in (
        *(BadRequest, Forbidden, InvalidPresence, Unauthenticated),
        *(StoreUnavailable, TabOwnedByAnotherUser),
    ):
        app.register_error_handler(refusal, failure_of)


def conflict(error: RecordChanged) -> Response:
    """409, with what a page needs to let its user choose: keep mine, take theirs, or compare."""
    return failure(409, str(error), data=error.as_data())


def held(error: FieldsHeld) -> Response:
    """423 for claimed fields and 409 for contested ones, with who is on them."""
    return failure(423 if isinstance(error, FieldsClaimed) else 409, str(error), data=error.as_data())
