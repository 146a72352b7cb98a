"""Cross-site request forgery: our own token, and Flask-WTF's where the host has it."""

import sys
from typing import Any

from flask import Blueprint, Flask, current_app, request, session

from ..identity.caller import Forbidden
from ..identity.session import CSRF_HEADER, is_csrf_token

_FLASK_WTF = "flask_wtf.csrf"


def check_csrf() -> None:
    """Raises Forbidden unless the request has the session's token, or one of Flask-WTF where the host has it.

    A host's own script may add its token beside ours, in the same header: both are then joined with a comma.
    """
    sent = [token.strip() for token in request.headers.get(CSRF_HEADER, "").split(",")]
    if not any(is_csrf_token(session, token) or _is_of_flask_wtf(token) for token in sent):
        raise Forbidden(f"The {CSRF_HEADER} header is missing or wrong.")


def _is_of_flask_wtf(token: str) -> bool:
    """Whether it is the token that Flask-WTF's `csrf_token()` puts into the host's pages."""
    flask_wtf = sys.modules.get(_FLASK_WTF)
    if not token or flask_wtf is None or not _protection(current_app):
        return False
    try:
        flask_wtf.validate_csrf(token)
    except ValueError:
        return False
    return True


def exempt_from_flask_wtf(app: Flask, blueprints: tuple[Blueprint, ...]) -> None:
    """Leave these to our own check, which CSRFProtect knows nothing of. Nothing happens without it.

    It would refuse bearer tokens as well, which no page of another site can send.
    """
    if protection := _protection(app):
        for blueprint in blueprints:
            protection.exempt(blueprint)


def _protection(app: Flask) -> Any:
    flask_wtf = sys.modules.get(_FLASK_WTF)
    protection = app.extensions.get("csrf")
    return protection if flask_wtf and isinstance(protection, flask_wtf.CSRFProtect) else None
