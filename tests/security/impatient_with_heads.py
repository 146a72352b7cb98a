"""record_presence.server.gunicorn_config with little patience for heads, but not for idle connections."""

from record_presence.server import timeouts
from record_presence.server.gunicorn_config import *  # noqa: F403
from record_presence.server.gunicorn_config import pre_request, when_ready  # noqa: F401 - what gunicorn looks for

timeouts.HEAD_SECONDS = 0.5
