"""Answers to a save that was refused."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from ...presence.errors import InvalidPresence, StoreUnavailable, TabOwnedByAnotherUser
from ...safe_writes.refusals import FieldsClaimed, FieldsContested, RecordChanged, RecordDeleted

RETRY_AFTER_SECONDS = 2  # when Redis is unavailable, as the service says it


class AnswerRefusals:
    """Middleware that answers in the envelope where a view refuses to save: 404, 409, 422, 423 and 503."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """None for what is no refusal of ours."""
        return refusal_response(error)


def refusal_response(error: Exception) -> HttpResponse | None:
    """What to answer to a refused save; None for any other error."""
    match error:
        case RecordDeleted():
            return _failure(404, str(error))
        case RecordChanged() | FieldsContested():
            return _failure(409, str(error), data=error.as_data())
        case TabOwnedByAnotherUser():
            return _failure(409, "This tab id belongs to another user.")
        case InvalidPresence():
            return _failure(422, "The request is not valid.", errors=error.errors)
        case FieldsClaimed():
            return _failure(423, str(error), data=error.as_data())
        case StoreUnavailable():
            answer = _failure(503, "Presence is not available right now.")
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
            return answer
    return None


def _failure(status: int, message: str, **more: Any) -> HttpResponse:
    envelope = {"success": False, "message": message, **more}
    return JsonResponse(envelope, status=status, headers={"Cache-Control": "no-store"})
