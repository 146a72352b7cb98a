"""`flask presence`: what operators ask in a terminal. See app/deploy/README.md."""

import contextlib
import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import AppGroup

from app.presence.errors import InvalidPresence, PresenceError, StoreUnavailable
from app.presence.records import Record, record_errors
from app.presence.service import RecordPresenceService
from app.presence.streams import Event, StreamEnded
from app.presence.timeline import Entry

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from app.api.extension import Presence

PAGE = 1000  # entries in one call
LOOK_SECONDS = 1.0  # leases run down though nothing is pushed
WIDE = 250  # characters of a line that no terminal shows
LISTED = 1000  # viewers in a snapshot
_JOINERS = "\u200c\u200d"  # within words and emoji


class _Unseen(click.ClickException):
    exit_code = 2


class _RecordName(click.ParamType):
    """`type:id`."""

    name = "type:id"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        record_type, _, record_id = str(value).partition(":")
        if errors := record_errors(record_type, record_id):
            self.fail("; ".join(f"{part}: {texts[0]}" for part, texts in errors.items()), param, ctx)
        return record_type, record_id


presence_commands = AppGroup("presence", help="Who has a record open, and why: for operators.")


def _command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command about one record. It is given the service of the tenant and the record's name."""

    def decorate(run: Callable[..., None]) -> click.Command:
        @functools.wraps(run)
        def command(record: tuple[str, str], tenant: str, **options: Any) -> None:
            state: Presence = current_app.extensions["presence"]
            if state.settings.redis_url is None:
                raise _Unseen(
                    "REDIS_URL is not set. Presence then lives in the memory of the process that serves, and "
                    "no other process can see it. Set REDIS_URL as the service has it."
                )
            try:
                with _quiet_log():
                    run(state.service(tenant), Record(tenant, *record), **options)
            except KeyboardInterrupt:
                click.echo(err=True)  # below what the terminal shows of the key
            except InvalidPresence as error:
                raise click.UsageError(str(error)) from None
            except PresenceError as error:
                raise click.ClickException(f"Redis did not answer: {error}") from None

        command = click.option("--tenant", default="1", show_default=True)(command)
        command = click.argument("record", type=_RecordName(), metavar="TYPE:ID")(command)
        return presence_commands.command(name)(command)

    return decorate


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """A command says itself what goes wrong, in one line; the service's log would say it four times."""
    logger = logging.getLogger("presence")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@_command("who")
def who(service: RecordPresenceService, record: Record) -> None:
    """Who has the record open, first arrival first."""
    table = _table("user", "id", "tabs", "mode", "unsaved", "fields in use")
    for viewer in service.get_unique_viewers(record.type, record.id):
        table.add_row(
            *_cells(
                viewer["name"],
                json.dumps(viewer["id"], ensure_ascii=False),
                viewer["tabs"],
                viewer["mode"],
                _unsaved(viewer["has_dirty_tab"], viewer.get("dirty_fields")),
                ", ".join(viewer["active_fields"]),
            )
        )
    _show(table, f"Nobody has {record.name} open.")


@_command("why")
def why(service: RecordPresenceService, record: Record) -> None:
    """Why is she shown? Every tab with its last heartbeat and its lease. Changes nothing."""
    _show(_tabs_table(service, record), f"There is nothing of {record.name} in Redis.")


@_command("evict")
@click.argument("tab_id", metavar="TAB")
def evict(service: RecordPresenceService, record: Record, tab_id: str) -> None:
    """Remove a tab at once; the viewers are told that it was evicted.

    A page that is still open comes back with its next heartbeat.
    """
    if not service.remove_presence(record.type, record.id, tab_id, reason="evicted"):
        raise click.ClickException(f"{record.name} has no live tab {tab_id}.")
    click.echo(f"Evicted {tab_id} from {record.name}.")


@_command("timeline")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
def timeline(service: RecordPresenceService, record: Record, as_json: bool, follow: bool) -> None:
    """What happened to the record, oldest first."""
    if _state().settings.timeline_seconds == 0:
        raise click.ClickException("The timeline is off: PRESENCE_TIMELINE_SECONDS is 0.")
    last = None
    # Read once a second, too: a save of a record that nobody has open is pushed to nobody.
    for _ in _pushes(record) if follow else [[]]:
        try:
            for entry in _entries(service, record, last):
                click.echo(json.dumps(entry) if as_json else _line(entry["at"], entry))
                last = entry["id"]
        except StoreUnavailable:
            if not follow:
                raise


@_command("watch")
def watch(service: RecordPresenceService, record: Record) -> None:
    """A live table of the record's tabs, until Ctrl-C; where there is no terminal, a line for each change."""
    if not sys.stdout.isatty():
        for events in _pushes(record):
            for line in _event_lines(events):
                click.echo(line)
        return
    from rich.live import Live
    from rich.text import Text

    empty = Text(f"Nobody has {record.name} open.")
    with Live(console=_console(), auto_refresh=False) as live:
        for _ in _pushes(record):
            with contextlib.suppress(StoreUnavailable):  # the listening says so
                table = _tabs_table(service, record)
                live.update(table if table.row_count else empty, refresh=True)


def _entries(service: RecordPresenceService, record: Record, since: str | None) -> Iterator[Entry]:
    while True:
        page = service.get_timeline(record.type, record.id, since=since, limit=PAGE)
        yield from page.entries
        since = page.next
        if since is None:
            return


def _state() -> "Presence":
    return current_app.extensions["presence"]


def _pushes(record: Record) -> Iterator[list[Event]]:
    """What is pushed, as it is; an empty list after a second without anything.

    Raises StoreUnavailable when Redis is away at the start; later it waits for it.
    """
    broadcast = _state().broadcast
    is_first = True
    try:
        while True:
            try:
                stream = broadcast.open([record], limit=LISTED)
            except PresenceError as error:
                if is_first:
                    raise
                click.echo(f"Redis does not answer, trying again: {error}", err=True)
                time.sleep(LOOK_SECONDS)
                continue
            is_first = False
            try:
                while True:
                    yield [event for event, _ in stream.take(LOOK_SECONDS)]
            except StreamEnded as ended:
                click.echo(f"Listening again: {ended.reason}.", err=True)
            finally:
                stream.close()
    finally:
        broadcast.close()


# What is shown


def _tabs_table(service: RecordPresenceService, record: Record) -> "Table":
    table = _table("tab", "user", "id", "mode", "unsaved", "lease left", "why")
    for found in service.inspect(record.type, record.id)["tabs"]:
        tab, left_ms = found["tab"], found["lease_left_ms"]
        table.add_row(
            *_cells(
                found["tab_id"],
                tab and tab["user_name"],
                tab and json.dumps(tab["user_id"], ensure_ascii=False),
                tab and tab["mode"],
                tab and _unsaved(tab["dirty"], tab.get("dirty_fields")),
                None if left_ms is None else f"{left_ms / 1000:.0f} s",
                found["reason"],
            )
        )
    return table


def _table(*columns: str) -> "Table":
    # Imported here: only these commands need it, and the service starts faster without.
    from rich import box
    from rich.table import Table

    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def _show(table: "Table", empty: str) -> None:
    if table.row_count:
        _console().print(table)
    else:
        click.echo(empty)


def _cells(*values: Any) -> Iterable[Any]:
    """What people call themselves is neither markup nor a command to the terminal."""
    from rich.text import Text

    return [Text(_printable("" if value is None else str(value))) for value in values]


def _printable(text: str) -> str:
    return "".join(
        [
            letter if letter.isprintable() or letter in _JOINERS else "\N{REPLACEMENT CHARACTER}"
            for letter in text
        ]
    )


def _unsaved(is_dirty: bool, fields: list[str] | None) -> str:
    return ", ".join(fields) if fields else "yes" if is_dirty else ""


def _line(moment: str, entry: Any) -> str:
    return _printable(f"{moment}  {_sentence(entry)}")


def _sentence(entry: Any) -> str:
    if entry["kind"] == "reset":
        return "The viewers were counted anew."
    who = "{name} ({id})".format(**entry["user"])
    match entry["kind"]:
        case "join":
            return f"{who} comes: {_doing(entry)}"
        case "update":
            return f"{who} now: {_doing(entry)}"
        case "leave":
            return f"{who} is gone: {entry['reason']}"
        case "saved":
            return f"{who} saves version {entry['lock_version']}: {', '.join(entry['fields']) or 'no fields'}"
        case "claimed":
            taken_from = entry.get("taken_from")
            return f"{who} claims {entry['field']}" + (f" from {taken_from['name']}" if taken_from else "")
    return f"{who} lets {entry['field']} go"


def _doing(shown: Any) -> str:
    parts = [shown["mode"], "1 tab" if shown["tabs"] == 1 else f"{shown['tabs']} tabs"]
    if unsaved := _unsaved(shown["has_dirty_tab"], shown.get("dirty_fields")):
        parts.append(f"unsaved: {unsaved}")
    if shown["active_fields"]:
        parts.append(f"in {', '.join(shown['active_fields'])}")
    return ", ".join(parts)


def _event_lines(events: list[Event]) -> Iterator[str]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for event in events:
        if event.seats is not None:
            yield f"{now}  {len(event.seats) or 'Nobody'} here"
            for _, seat in event.seats:
                yield _line(now, {"kind": "update", "user": seat.viewer, **seat.viewer})
        elif event.seat:
            user = event.seat.viewer
            yield _line(now, {**user, "kind": event.kind, "user": user, "reason": event.reason or "?"})
        elif event.kind == "saved":
            yield _line(now, {**(event.data or {}), "kind": "saved"})
        elif event.kind == "claims":
            claims = (event.data or {}).get("claims", {})
            held = ", ".join(f"{field}: {claim['user']['name']}" for field, claim in claims.items())
            yield _printable(f"{now}  Claimed: {held or 'nothing'}")
