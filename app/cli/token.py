"""The command `token`, which signs a bearer token."""

import json
from typing import Any

import click
from flask.cli import with_appcontext

from ..api.extension import current_extension
from ..identity.bearer import required_claims, signing_key, symmetric_algorithm
from ..identity.caller import Unauthenticated
from ..tokens import ROLES, sign

MAX_HOURS = 24 * 366


def _user_id(text: str) -> int | str:
    """An integer if it reads like one; quoted twice ('"42"'), a string."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | str) and not isinstance(value, bool) else text


@click.command("token")
@click.option("--sub", "user_id", required=True, help="User id: 42, or anything else as a string.")
@click.option("--name", required=True, help="User name.")
@click.option("--tenant", default="1", show_default=True)
@click.option("--records", multiple=True, help="Pattern such as flow:*; may be given several times.")
@click.option("--role", type=click.Choice(ROLES), help="Grants what other users may not do.")
@click.option("--act", "agent", help="Id of a program that works on behalf of the user.")
@click.option("--picture", help="https URL of a picture of the user.")
@click.option("--hours", default=12.0, show_default=True, type=float)
@with_appcontext
def token_command(
    user_id: str,
    name: str,
    tenant: str,
    records: tuple[str, ...],
    role: str | None,
    agent: str | None,
    picture: str | None,
    hours: float,
) -> None:
    """Print a bearer token that this service accepts."""
    if not 0 < hours <= MAX_HOURS:  # nor NaN
        raise click.BadParameter(f"must be more than 0 and at most {MAX_HOURS}", param_hint="--hours")
    more: dict[str, Any] = {}
    if agent:
        more["act"] = {"sub": agent}
    if picture:
        more["picture"] = picture
    extension = current_extension()
    settings = extension.settings
    try:
        token = sign(
            _user_id(user_id),
            name,
            key=signing_key(settings),
            tenant=tenant,
            records=records or None,
            role=role,
            lifetime_seconds=hours * 3600,
            algorithm=symmetric_algorithm(settings),
            claims={**required_claims(settings), **more},
        )
        extension.bearer_tokens.identify(token)  # as the service will
    except (ValueError, Unauthenticated) as error:
        raise click.ClickException(str(error)) from None
    click.echo(token)
