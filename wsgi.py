"""The WSGI entry: `gunicorn -c python:app.gunicorn wsgi:app`, `flask token …`."""

import sys

from gunicorn.arbiter import Arbiter

from app import create_app
from app.presence.errors import ScriptInvalid
from app.settings import SettingError

try:
    app = create_app()
except (SettingError, ScriptInvalid) as error:
    print(error, file=sys.stderr, flush=True)
    # gunicorn's word for "this will not get better": at any other it starts the worker again, for ever.
    sys.exit(Arbiter.APP_LOAD_ERROR)
