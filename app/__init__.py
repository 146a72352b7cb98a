"""Record Presence: who has this record open right now.

`create_app()` is the service; `init_app(app)` puts it into a Flask application of yours.
"""

from typing import Any

__all__ = ["create_app", "init_app"]


def __getattr__(name: str) -> Any:
    # Late, because gunicorn reads app.gunicorn before gevent has patched ssl,
    # which the factory's imports would by then have bound.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app import factory

    return getattr(factory, name)
