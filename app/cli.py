"""`flask token`. The operators' commands are in app/console.py."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext

from app.identity.bearer import ROLES, issue_token
from app.identity.caller import Unauthenticated

MOST_HOURS = 24 * 366


def _user_id(text: str) -> int | str:
    """An integer where it looks like one; quote it twice ('"42"') for the string."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | str) and not isinstance(value, bool) else text


@click.command("token")
@click.option("--sub", "user_id", required=True, help="User id: 42, or anything else as a string.")
@click.option("--name", required=True, help="User name.")
@click.option("--tenant", default="1", show_default=True)
@click.option("--records", multiple=True, help="Pattern such as flow:*; may stand many times.")
@click.option("--role", type=click.Choice(ROLES), help="What she may beyond what users may.")
@click.option("--hours", default=12.0, show_default=True, type=float)
@with_appcontext
def token_command(
    user_id: str, name: str, tenant: str, records: tuple[str, ...], role: str | None, hours: float
) -> None:
    """Print a bearer token that this service accepts."""
    if not 0 < hours <= MOST_HOURS:  # nor NaN
        raise click.BadParameter(f"must be more than 0, at most {MOST_HOURS}", param_hint="--hours")
    claims = {"sub": _user_id(user_id), "name": name, "tenant": tenant}
    if records:
        claims["records"] = list(records)
    if role:
        claims["role"] = role
    state = current_app.extensions["presence"]
    try:
        token = issue_token(state.settings, claims, hours * 3600)
        state.bearer_tokens.identify(token)  # as the service will
    except (ValueError, Unauthenticated) as error:
        raise click.ClickException(str(error)) from None
    click.echo(token)
