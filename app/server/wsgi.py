"""The WSGI entry of the service: `record_presence.server.wsgi:app`."""

import sys

from ..factory import create_app
from ..presence.errors import ScriptInvalid
from ..settings import SettingError

# gunicorn's Arbiter.APP_LOAD_ERROR, at which it stops; after any other it restarts the worker for ever.
APP_LOAD_ERROR = 4

try:
    app = create_app()
except (SettingError, ScriptInvalid) as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(APP_LOAD_ERROR)
