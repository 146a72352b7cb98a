"""Server-Sent Events: what happens to records, as it happens."""

import json
import logging
import random
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from ..identity.caller import Caller
from ..metrics import STREAMS
from ..presence import json_codec
from ..presence.codec import encode_user_id
from ..presence.conflicts import ConflictState
from ..presence.greenlets import runs_greenlets
from ..presence.records import Record
from ..presence.streaming.admission import Owner
from ..presence.streaming.events import Event, ViewerEntry
from ..presence.streaming.stream import Stream, StreamEnded
from . import schemas
from .calls import authenticate, authorize_and_throttle
from .extension import current_extension
from .paths import API_PREFIX
from .requests import read_query
from .responses import NO_STORE, PreparedResponse

COMMENT_INTERVAL_SECONDS = 15.0  # of silence; without a comment then, proxies would close the stream
# Until a reader who left at once is noticed; doubles each time. Each record of a stream takes 3 KB.
FIRST_CHECK_SECONDS = 0.25
MAX_STREAM_SECONDS = 15 * 60  # then the reader has to prove again who they are
MAX_BUFFERED_CHUNK_BYTES = 1024  # a longer one must not stay in memory until the next one comes
RETRY_MS = (500, 3000)  # a random delay, so that readers don't all reconnect at once

_TCP_ESTABLISHED = 1  # from the kernel's tcp_states.h; others after the client has closed or reset it

blueprint = Blueprint("record_presence_events", __name__, url_prefix=API_PREFIX)

log = logging.getLogger("presence.events")

# When this module is imported: what is patched later leaves the locks and queues of streams as they were.
_RUNS_GREENLETS = runs_greenlets("threading")

_EVENTS_QUERY = schemas.EventsQuery()
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@blueprint.get("/events")
def events() -> Response:
    """Stream what happens to up to 100 records, as Server-Sent Events.

    A `snapshot` of each record comes first, then `join`, `update`, `leave` (with
    its reason), `saved`, `claims` and `signal`. A client that reconnects with
    `Last-Event-ID` gets a fresh snapshot of every record that has changed since,
    and none of the rest. Records that the caller may not see are named in a
    `forbidden` event; if they all are, the answer is 403. Where this process can't
    hold streams, it is 204: by the standard, a client does not reconnect.
    """
    caller = authenticate()
    query = read_query(_EVENTS_QUERY)
    names = list(dict.fromkeys(query["record"]))
    allowed = [name for name in names if caller.may_see(name)]
    forbidden = [name for name in names if not caller.may_see(name)]
    # A client that watches a list is not cut off because of one record in it.
    authorize_and_throttle(caller, *(allowed or names), limit=query["limit"])
    if not _can_hold_streams():
        return PreparedResponse([], "204 NO CONTENT", NO_STORE)
    if request.method == "HEAD":
        # Nobody would read the stream or close it.
        return _response(())
    stream = current_extension().broadcast.open(
        [Record(caller.tenant, *name.split(":")) for name in allowed],
        owner=Owner(caller.tenant, encode_user_id(caller.user_id)),
        user=None if query["include_self"] else encode_user_id(caller.user_id),
        limit=query["limit"],
        seen_version=request.headers.get("Last-Event-ID"),
    )
    return _response(_Body(stream, _ends_at(caller), forbidden, request.environ.get("gunicorn.socket")))


def _can_hold_streams() -> bool:
    """Whether this process holds streams: as it is set, or else where gevent has made threads cheap.

    Each stream would keep a sync worker, or a thread of a small pool, from all other calls.
    """
    extension = current_extension()
    if extension.settings.streams is not None:
        return extension.settings.streams
    if not _RUNS_GREENLETS and not extension.has_logged_no_streams:
        extension.has_logged_no_streams = True
        log.warning(
            "no event streams, clients poll: gevent is not patched in"
            " (gunicorn -k gevent, without --preload; or PRESENCE_STREAMS=yes)"
        )
    return _RUNS_GREENLETS


def _response(body: Iterable[bytes]) -> Response:
    # Passed through, since Werkzeug would wrap each event in two more generators.
    response = Response(body, content_type="text/event-stream; charset=utf-8", direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _ends_at(caller: Caller) -> float:
    """When the stream ends, on the monotonic clock: with the caller's proof at the latest."""
    seconds = MAX_STREAM_SECONDS * random.uniform(0.8, 1)  # noqa: S311
    if caller.expires_at is not None:
        seconds = min(seconds, caller.expires_at - time.time())
    return time.monotonic() + seconds


class _Body:
    """The bytes of a stream.

    Not a generator: Python does not run the `finally` of one that was never
    started, so the stream of a reader who left at once would never be closed.
    """

    def __init__(self, stream: Stream, ends_at: float, forbidden: list[str], client: Any) -> None:
        self._stream = stream
        self._chunks = _chunks(stream, ends_at, forbidden, client)
        self._is_open = True
        STREAMS.inc()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Close the stream. Servers may call this more than once."""
        if self._is_open:
            self._is_open = False
            STREAMS.dec()
            self._stream.close()


def _chunks(stream: Stream, ends_at: float, forbidden: list[str], client: Any) -> Iterator[bytes]:
    # Sent at once, so that the reader sees that the stream is open, and with what there is already.
    head = _retry() + (_message("forbidden", None, _encode({"records": forbidden})) if forbidden else b"")
    check_seconds, comment_at = FIRST_CHECK_SECONDS, time.monotonic() + COMMENT_INTERVAL_SECONDS
    while (now := time.monotonic()) < ends_at:
        try:
            seconds = 0.0 if head else min(check_seconds, comment_at - now, ends_at - now)
            events = stream.take(max(0.0, seconds))
        except StreamEnded:
            break
        if not events and not head:
            if _has_hung_up(client):
                return
            check_seconds = min(2 * check_seconds, COMMENT_INTERVAL_SECONDS)
            if time.monotonic() < comment_at:
                continue
        chunk = head + b"".join([_encode_event(event, total, stream) for event, total in events]) or b":\n\n"
        head = b""
        del events  # a reader waits for long
        comment_at = time.monotonic() + COMMENT_INTERVAL_SECONDS
        yield chunk
        if len(chunk) > MAX_BUFFERED_CHUNK_BYTES:
            # The server keeps a chunk until the next one, and a list of a hundred viewers takes
            # as much memory as the rest of a stream. The server does not send an empty chunk.
            chunk = b""
            yield chunk
    yield head + _retry()


def _has_hung_up(client: Any) -> bool:
    """Whether the client is known to have closed its connection (a socket, or None).

    Only Linux tells without reading from it. Otherwise the first comment fails, or the second.
    """
    if client is None or sys.platform != "linux":
        return False
    try:
        return bool(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED)
    except OSError:  # not TCP, or closed on our side too
        return False


def _retry() -> bytes:
    return f"retry: {random.randint(*RETRY_MS)}\n\n".encode()  # noqa: S311


def _encode_event(event: Event, total: int, stream: Stream) -> bytes:
    """The bytes of an event; the same object for all streams that state the same total."""
    is_own = event.entries is None and stream.user is not None and event.user == stream.user
    if is_own:
        # Users are not told about themselves, but their client needs the new version.
        return f"id: {_event_id(event)}\n\n".encode()
    encoded = event.encoded.get(total)
    if encoded is None:
        data = _event_data(event, total) if event.entries is None else _snapshot_data(event, total)
        encoded = event.encoded[total] = _message(event.kind, _event_id(event), data)
    return encoded


def _event_id(event: Event) -> str | None:
    """The version; empty while it is incomplete, because the reader then holds no version."""
    return "" if event.is_partial else event.version


def _event_data(event: Event, total: int) -> str:
    if event.entry is None:
        announced = event.data or {}
        return _encode(announced if event.version is None else {**announced, "version": event.version})
    data: dict[str, Any] = {"record": event.record.name, "viewer": event.entry.viewer}
    if event.reason:
        data["reason"] = event.reason
    return _encode({**data, "total": total, "version": event.version})


def _snapshot_data(event: Event, total: int) -> str:
    viewers = ",".join([_viewer_json(entry) for _, entry in event.entries or ()])
    conflicts = event.conflicts or ConflictState()
    optional = {"saved": conflicts.saves, "claims": conflicts.claims, "unconfirmed": event.is_unconfirmed}
    rest = _encode(
        {
            "record": event.record.name,
            "total": total,
            "version": event.version,
            **{name: value for name, value in optional.items() if value},
        }
    )
    return f'{{"viewers":[{viewers}],{rest[1:]}'


def _viewer_json(entry: ViewerEntry) -> str:
    if entry.viewer_json is None:
        entry.viewer_json = _encode_quickly(entry.viewer)
    return entry.viewer_json


def _encode_quickly(value: Any) -> str:
    try:
        return json_codec.dumps(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        return _encode(value)


def _message(kind: str, event_id: str | None, data: str) -> bytes:
    id_line = f"id: {event_id}\n" if event_id is not None else ""
    # A lone surrogate, which JSON can contain, has no UTF-8: one sender must not end every stream.
    return f"event: {kind}\n{id_line}data: {data}\n\n".encode("utf-8", "replace")
