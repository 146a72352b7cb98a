"""The commands `presence …`, for operators in a terminal. See app/deploy/README.md."""

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
from flask.cli import AppGroup

from ..api.extension import current_extension
from ..presence.codec import parse_user_id
from ..presence.errors import InvalidPresence, NoOpenIndex, PresenceError, StoreUnavailable
from ..presence.inspection import InspectedTab
from ..presence.open_summary import OpenRecord
from ..presence.records import Record
from ..presence.service import RecordPresenceService
from ..presence.streaming.events import Event
from ..presence.streaming.stream import StreamEnded
from ..presence.timeline import Entry
from ..presence.validation import record_errors
from ..presence.viewers import UserId

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TIMELINE_PAGE_SIZE = 1000  # entries in one call
REFRESH_SECONDS = 1.0  # leases run out even when nothing is published
PLAIN_WIDTH = 250  # characters in a line where there is no terminal
MAX_LISTED_VIEWERS = 1000  # in a snapshot
_JOINERS = "\u200c\u200d"  # within words and emoji


class _NoSharedRedis(click.ClickException):
    exit_code = 2


class _RecordName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """`type:id`."""

    name = "type:id"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        record_type, _, record_id = str(value).partition(":")
        if errors := record_errors(record_type, record_id):
            self.fail("; ".join(f"{part}: {texts[0]}" for part, texts in errors.items()), param, ctx)
        return record_type, record_id


class _UserId(click.ParamType):  # type: ignore[type-arg]
    """A user's id: digits are an integer, unless they stand in double quotes."""

    name = "user"

    def convert(self, value: Any, param: Any, ctx: Any) -> UserId:
        try:
            return parse_user_id(str(value))
        except InvalidPresence as error:
            self.fail(str(error), param, ctx)


presence_commands = AppGroup("presence", help="Who has a record open, and why: for operators.")


def _command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command about one record. It gets the service of the tenant, and the record."""

    def decorate(run: Callable[..., None]) -> click.Command:
        @functools.wraps(run)
        def of_record(
            service: RecordPresenceService, tenant: str, record: tuple[str, str], **options: Any
        ) -> None:
            run(service, Record(tenant, *record), **options)

        return _tenant_command(name)(
            click.argument("record", type=_RecordName(), metavar="TYPE:ID")(of_record)
        )

    return decorate


def _tenant_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command about a tenant. It gets the service of the tenant, and its name."""

    def decorate(run: Callable[..., None]) -> click.Command:
        @functools.wraps(run)
        def command(tenant: str, **options: Any) -> None:
            extension = current_extension()
            if extension.settings.redis_url is None:
                raise _NoSharedRedis(
                    "REDIS_URL is not set. Without it presence is kept in the memory of the server process, "
                    "where no other process can see it. Set REDIS_URL as for the service."
                )
            try:
                with _quiet_log():
                    run(extension.service(tenant), tenant, **options)
            except KeyboardInterrupt:
                click.echo(err=True)  # a new line after the ^C that the terminal shows
            except InvalidPresence as error:
                raise click.UsageError(str(error)) from None
            except NoOpenIndex as error:
                raise click.ClickException(f"{error} PRESENCE_OPEN_INDEX is off.") from None
            except PresenceError as error:
                raise click.ClickException(f"Redis did not answer: {error}") from None

        command = click.option("--tenant", default="1", show_default=True)(command)
        return presence_commands.command(name)(command)

    return decorate


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """A command reports an error itself, in one line; the service's log would repeat it four times."""
    logger = logging.getLogger("presence")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@_command("who")
def who(service: RecordPresenceService, record: Record) -> None:
    """List who has the record open, first arrival first."""
    table = _table("user", "id", "tabs", "mode", "unsaved", "fields in use", "since")
    for viewer in service.get_unique_viewers(record.type, record.id):
        table.add_row(
            *_cells(
                viewer["name"],
                json.dumps(viewer["id"], ensure_ascii=False),
                viewer["tabs"],
                viewer["mode"],
                _unsaved(viewer["has_dirty_tab"], viewer.get("dirty_fields")),
                ", ".join(viewer["active_fields"]),
                viewer["since"] + (", away" if viewer["away"] else ""),
            )
        )
    _show(table, f"Nobody has {record.name} open.")


@_tenant_command("open")
@click.option("--type", "record_type", metavar="TYPE", help="Records of this type.")
@click.option(
    "--user", "user_id", type=_UserId(), help="Records that this user has open. A string of digits in quotes."
)
def open_command(
    service: RecordPresenceService, tenant: str, record_type: str | None, user_id: UserId | None
) -> None:
    """List which records of the tenant are open now: all of a type, or where a user is."""
    if record_type is None and user_id is None:
        raise click.UsageError("Name a --type of records, or a --user.")
    table = _table("record", "people", "agents", "editing", "unsaved", "since")
    for found in _open_records(service, record_type, user_id):
        more = ", …" if found.get("more") else ""
        table.add_row(
            *_cells(
                found["record"],
                found["people"],
                found["agents"] or "",
                ", ".join(user["name"] for user in found["editing"]) + more,
                ", ".join(user["name"] for user in found["unsaved"]) + more,
                found["viewer"]["since"] if "viewer" in found else found["since"],
            )
        )
    nobody = f"No record of the type {record_type} is open."
    _show(table, nobody if user_id is None else "This user has no such record open.")


@_tenant_command("forget")
@click.argument("user_id", type=_UserId(), metavar="USER")
@click.argument("records", type=_RecordName(), metavar="[TYPE:ID]...", nargs=-1)
def forget(
    service: RecordPresenceService, tenant: str, user_id: UserId, records: tuple[tuple[str, str], ...]
) -> None:
    """Erase a user: their tabs and claims, their part in timelines, and who they were in saves.

    In all records that the index of open records knows of them, and in those that are named.
    """
    erased = service.forget_user(user_id, records)
    click.echo(
        f"Erased in {erased.records} records: {erased.tabs} tabs, {erased.claims} claims,"
        f" {erased.entries} entries of timelines, and the name in {erased.saves} saves."
    )


@_command("why")
def why(service: RecordPresenceService, record: Record) -> None:
    """Explain why each user is listed: every tab with its lease. Changes nothing."""
    _show(_tabs_table(service, record), f"Redis holds nothing about {record.name}.")


@_command("evict")
@click.argument("tab_id", metavar="TAB")
def evict(service: RecordPresenceService, record: Record, tab_id: str) -> None:
    """Remove a tab at once; the viewers are told that the user was evicted.

    A page that is still open comes back with its next heartbeat.
    """
    if not service.remove_presence(record.type, record.id, tab_id, reason="evicted"):
        raise click.ClickException(f"{record.name} has no live tab {tab_id}.")
    click.echo(f"Evicted {tab_id} from {record.name}.")


@_command("timeline")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on each line.")
@click.option("--follow", is_flag=True, help="Keep printing what happens, until Ctrl-C.")
def timeline(service: RecordPresenceService, record: Record, as_json: bool, follow: bool) -> None:
    """Print what happened to the record, oldest first."""
    if current_extension().settings.timeline_seconds == 0:
        raise click.ClickException("The timeline is off: PRESENCE_TIMELINE_SECONDS is 0.")
    last = None
    # Also read once a second, because a save of a record that nobody has open is not published.
    for _ in _live_events(record) if follow else [[]]:
        try:
            for entry in _entries(service, record, last):
                click.echo(json.dumps(entry) if as_json else _line(entry["at"], entry))
                last = entry["id"]
        except StoreUnavailable:
            if not follow:
                raise


@_command("watch")
def watch(service: RecordPresenceService, record: Record) -> None:
    """Show a live table of the record's tabs, until Ctrl-C; without a terminal, a line for each change."""
    if not sys.stdout.isatty():
        for events in _live_events(record):
            for line in _event_lines(events):
                click.echo(line)
        return
    with _needs_rich():
        from rich.live import Live
        from rich.text import Text

    empty = Text(f"Nobody has {record.name} open.")
    with Live(console=_console(), auto_refresh=False) as live:
        for _ in _live_events(record):
            with contextlib.suppress(StoreUnavailable):  # _live_events reports it
                table = _tabs_table(service, record)
                live.update(table if table.row_count else empty, refresh=True)


def _open_records(
    service: RecordPresenceService, record_type: str | None, user_id: UserId | None
) -> Iterator[OpenRecord]:
    """Each of them once."""
    seen = set()
    after: str | None = ""
    while after is not None:
        page = service.list_open_records(record_type, user_id=user_id, after=after)
        for found in page.records:
            if found["record"] not in seen:
                seen.add(found["record"])
                yield found
        after = page.next


def _entries(service: RecordPresenceService, record: Record, since: str | None) -> Iterator[Entry]:
    while True:
        page = service.get_timeline(record.type, record.id, since=since, limit=TIMELINE_PAGE_SIZE)
        yield from page.entries
        since = page.next
        if since is None:
            return


def _live_events(record: Record) -> Iterator[list[Event]]:
    """The events of a record as they are published; an empty list after a second without any.

    Raises StoreUnavailable if Redis is unavailable at the start; later it waits until Redis is back.
    """
    broadcast = current_extension().broadcast
    is_first = True
    try:
        while True:
            try:
                stream = broadcast.open([record], limit=MAX_LISTED_VIEWERS)
            except PresenceError as error:
                if is_first:
                    raise
                click.echo(f"Redis does not answer; trying again: {error}", err=True)
                time.sleep(REFRESH_SECONDS)
                continue
            is_first = False
            try:
                while True:
                    yield [event for event, _ in stream.take(REFRESH_SECONDS)]
            except StreamEnded as ended:
                click.echo(f"Subscribing again: {ended.reason}.", err=True)
            finally:
                stream.close()
    finally:
        broadcast.close()


# Output


def _inspected_tabs(service: RecordPresenceService, record: Record) -> Iterator[InspectedTab]:
    after: str | None = ""
    while after is not None:
        inspection = service.inspect(record.type, record.id, after=after)
        yield from inspection["tabs"]
        after = inspection["next"]


def _tabs_table(service: RecordPresenceService, record: Record) -> "Table":
    table = _table("tab", "user", "id", "mode", "unsaved", "lease left", "why")
    for found in _inspected_tabs(service, record):
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
    # Imported here, since only these commands need it, and the service starts faster without.
    with _needs_rich():
        from rich import box
        from rich.table import Table

    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


@contextlib.contextmanager
def _needs_rich() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        raise click.ClickException("This command needs rich: pip install 'record-presence[cli]'") from None


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def _show(table: "Table", empty: str) -> None:
    if table.row_count:
        _console().print(table)
    else:
        click.echo(empty)


def _cells(*values: Any) -> Iterable[Any]:
    """The values as text: a user's name must be neither markup nor a command to the terminal."""
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
            return f"{who} comes: {_activity(entry)}"
        case "update":
            return f"{who} now: {_activity(entry)}"
        case "leave":
            return f"{who} is gone: {entry['reason']}"
        case "saved":
            return f"{who} saves version {entry['lock_version']}: {', '.join(entry['fields']) or 'no fields'}"
        case "claimed":
            taken_from = entry.get("taken_from")
            return f"{who} claims {entry['field']}" + (f" from {taken_from['name']}" if taken_from else "")
    return f"{who} lets {entry['field']} go"


def _activity(shown: Any) -> str:
    parts = [shown["mode"], "1 tab" if shown["tabs"] == 1 else f"{shown['tabs']} tabs"]
    if unsaved := _unsaved(shown["has_dirty_tab"], shown.get("dirty_fields")):
        parts.append(f"unsaved: {unsaved}")
    if shown["active_fields"]:
        parts.append(f"in {', '.join(shown['active_fields'])}")
    if shown.get("away"):
        parts.append("away")
    return ", ".join(parts)


def _event_lines(events: list[Event]) -> Iterator[str]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for event in events:
        if event.entries is not None:
            yield f"{now}  {len(event.entries) or 'Nobody'} here"
            for _, entry in event.entries:
                yield _line(now, {"kind": "update", "user": entry.viewer, **entry.viewer})
        elif event.entry:
            user = event.entry.viewer
            yield _line(now, {**user, "kind": event.kind, "user": user, "reason": event.reason or "?"})
        elif event.kind == "saved":
            yield _line(now, {**(event.data or {}), "kind": "saved"})
        elif event.kind == "claims":
            claims = (event.data or {}).get("claims", {})
            held = ", ".join(f"{field}: {claim['user']['name']}" for field, claim in claims.items())
            yield _printable(f"{now}  Claimed: {held or 'nothing'}")
