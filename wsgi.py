"""The WSGI entry, for `flask` commands and servers that are started in the checkout."""

from record_presence.server.wsgi import app

__all__ = ["app"]
