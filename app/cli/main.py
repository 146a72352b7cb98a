"""The console script `record-presence`: serve presence, query it, and check its setup."""

import os
import sys
from importlib.util import find_spec

import click
from flask import Flask
from flask.cli import ScriptInfo

from ..presence.errors import ScriptInvalid
from ..settings import SettingError
from .doctor import doctor
from .presence import presence_commands
from .token import token_command

GUNICORN_CONFIG = "python:record_presence.server.gunicorn_config"
WSGI_APPLICATION = "record_presence.server.wsgi:app"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="record-presence", message="%(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Who has this record open right now.

    All settings come from the environment; `record-presence doctor` shows and checks them.
    """
    context.obj = ScriptInfo(create_app=_create_app)


@main.command()
@click.option("--host", help="Address to listen on; overrides HOST.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; overrides PORT.")
def serve(host: str | None, port: int | None) -> None:
    """Serve presence, until Ctrl-C.

    With REDIS_URL in as many processes as there are cores; without, in one process that keeps
    everything in memory.
    """
    if missing := [name for name in ("gunicorn", "gevent") if find_spec(name) is None]:
        raise click.ClickException(
            f"serve needs {' and '.join(missing)}: pip install 'record-presence[server]'"
        )
    environ = dict(os.environ)
    if host is not None:
        environ["HOST"] = host
    if port is not None:
        environ["PORT"] = str(port)
    command = [sys.executable, "-m", "gunicorn", "-c", GUNICORN_CONFIG, WSGI_APPLICATION]
    os.execve(sys.executable, command, environ)  # noqa: S606 - gunicorn takes this process's place


main.add_command(token_command)
main.add_command(presence_commands)
main.add_command(doctor)


def _create_app() -> Flask:
    """Raises ClickException, whose message is one line."""
    from ..factory import create_app  # late: `serve` needs none of it

    try:
        return create_app()
    except (SettingError, ScriptInvalid) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
