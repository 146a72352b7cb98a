"""app.gunicorn with little patience, for tests that wait for it to end."""

from app import patience
from app.gunicorn import *  # noqa: F403
from app.gunicorn import pre_request, when_ready  # noqa: F401 - what gunicorn looks for

patience.BODY_SECONDS = patience.SEND_SECONDS = 0.5
keepalive = 1
