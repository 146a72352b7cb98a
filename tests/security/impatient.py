"""record_presence.server.gunicorn_config with short timeouts, for tests that wait for it to end."""

from record_presence.server import timeouts
from record_presence.server.gunicorn_config import *  # noqa: F403
from record_presence.server.gunicorn_config import pre_request, when_ready  # noqa: F401 - what gunicorn looks for

timeouts.BODY_SECONDS = timeouts.SEND_SECONDS = 0.5
keepalive = 1
