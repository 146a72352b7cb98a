"""Record Presence: who has this record open right now.

`create_app()` makes the service; `init_app(app)` puts it into a Flask application of your own.
"""

from typing import Any

__all__ = ["create_app", "init_app"]


def __getattr__(name: str) -> Any:
    # Late, because gunicorn imports record_presence.server.gunicorn_config before gevent patches ssl,
    # and the factory's imports would keep the unpatched module.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import factory

    return getattr(factory, name)
