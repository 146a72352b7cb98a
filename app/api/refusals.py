"""What a refused call costs: it counts against its caller, and where nobody can be counted it waits."""

import time

from flask import request
from werkzeug.exceptions import HTTPException

from ..identity.caller import Forbidden, KeysUnavailable, Unauthenticated, UnknownKey
from ..presence.errors import StoreUnavailable, TooManyCalls
from ..presence.greenlets import runs_greenlets
from .calls import CALL, Call, authenticate
from .pacing import MAX_SHARE, Pacer
from .paths import API_PREFIX

REFUSAL_PAUSE_SECONDS = 0.1  # before a call that is over a limit, or has no valid proof, is answered
REFUSAL_SECONDS = 0.0005  # that such a call takes; together, they are answered at the pace of this
MAX_REFUSAL_PAUSE_SECONDS = 1.0

_refusals = Pacer(share=MAX_SHARE, burst_seconds=0.0, max_wait_seconds=MAX_REFUSAL_PAUSE_SECONDS)


def answer_to_refused_call(error: Exception) -> Exception:
    """The error to answer with: this one, or TooManyCalls. Pauses where nobody or too much was counted."""
    error = _count_refused_call(error)
    if isinstance(error, TooManyCalls | Unauthenticated | UnknownKey):
        pause_before_refusal()
    return error


def pause_before_refusal() -> None:
    """Keep a client that nobody can be counted for, or who is over a limit, waiting for a moment.

    It can call again as often as it likes, on many connections, and each answer takes its time from everybody
    else's. Only where waiting costs nothing: a greenlet may wait, while a thread would be missing elsewhere.
    """
    if runs_greenlets():
        time.sleep(REFUSAL_PAUSE_SECONDS + _refusals.reserve(REFUSAL_SECONDS))


def _count_refused_call(error: Exception) -> Exception:
    """The error to answer with: this one, or TooManyCalls.

    Counts a call that was refused before a script could count it, and one to a path or with a
    method that does not exist. A call without a proof of identity counts against nobody.
    """
    if CALL not in request.environ and isinstance(error, HTTPException):
        if not request.path.startswith(f"{API_PREFIX}/"):
            return error
        try:
            authenticate()
        except TooManyCalls as too_many:
            return too_many
        except (Unauthenticated, Forbidden, KeysUnavailable):
            pass
    call: Call | None = request.environ.get(CALL)
    if call is None:
        return error
    if isinstance(error, TooManyCalls):
        call.remember_blocked(error)
    elif not (call.is_counted or isinstance(error, StoreUnavailable)):
        try:
            call.count()
        except TooManyCalls as too_many:
            return too_many
        except StoreUnavailable:
            pass  # it is refused in any case
    return error
