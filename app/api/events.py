"""Server-Sent Events: what happens to records, as it happens."""

import json
import random
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from app.api import schemas
from app.api.extension import presence
from app.api.presence import API_PREFIX
from app.api.requests import admit, read_caller, read_query
from app.identity.caller import Caller
from app.metrics import STREAMS
from app.presence.conflicts import Notes
from app.presence.records import Record, user_key
from app.presence.streams import Event, Seat, Stream, StreamEnded

COMMENT_SECONDS = 15.0  # of silence, before a comment keeps proxies from closing the stream
LONGEST_STREAM_SECONDS = 15 * 60  # then the reader proves again who she is
LONG_CHUNK_BYTES = 1024  # not worth to be kept until the next one
RETRY_MS = (500, 3000)  # a reader comes back after a while in between, so that they don't all at once

blueprint = Blueprint("events", __name__, url_prefix=API_PREFIX)

_EVENTS_QUERY = schemas.EventsQuery()
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@blueprint.get("/events")
def events() -> Response:
    """Stream what happens to up to 100 records, as Server-Sent Events.

    A `snapshot` of each record comes first, then `join`, `update`, `leave` (with
    its reason) and `signal`. Ids are versions: a reader who comes back with
    Last-Event-ID gets no snapshot of a record that has not changed since.
    """
    caller = read_caller()
    query = read_query(_EVENTS_QUERY)
    names = list(dict.fromkeys(query["record"]))
    admit(caller, *names)
    if request.method == "HEAD":
        # Nobody would read the stream, and nobody close it.
        return _response(())
    stream = presence().broadcast.open(
        [Record(caller.tenant, *name.split(":")) for name in names],
        user=None if query["include_self"] else user_key(caller.user_id),
        limit=query["limit"],
        seen_version=request.headers.get("Last-Event-ID"),
    )
    return _response(_Body(stream, _ends_at(caller)))


def _response(body: Iterable[bytes]) -> Response:
    # Passed through: two generators of the library would stand between the server and each event.
    response = Response(body, content_type="text/event-stream; charset=utf-8", direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _ends_at(caller: Caller) -> float:
    """When the stream ends, on the monotonic clock: with the caller's proof, if not before."""
    seconds = LONGEST_STREAM_SECONDS * random.uniform(0.8, 1)  # noqa: S311
    if caller.expires_at is not None:
        seconds = min(seconds, caller.expires_at - time.time())
    return time.monotonic() + seconds


class _Body:
    """The bytes of a stream.

    Not a generator: one that was never started is not closed, and then the
    stream of a reader who left at once would stay open for ever.
    """

    def __init__(self, stream: Stream, ends_at: float) -> None:
        self._stream = stream
        self._chunks = _chunks(stream, ends_at)
        self._is_open = True
        STREAMS.inc()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Let the stream go; servers call this more than once."""
        if self._is_open:
            self._is_open = False
            STREAMS.dec()
            self._stream.close()


def _chunks(stream: Stream, ends_at: float) -> Iterator[bytes]:
    # Comes with the first chunk, so that a reader knows that she is heard.
    yield _retry()
    while (left := ends_at - time.monotonic()) > 0:
        try:
            events = stream.take(min(COMMENT_SECONDS, left))
        except StreamEnded:
            break
        chunk = b"".join([_wire(event, total, stream) for event, total in events]) or b":\n\n"
        events.clear()
        yield chunk
        if len(chunk) > LONG_CHUNK_BYTES:
            # The server holds on to a chunk until there is another, and a list of a hundred
            # viewers is as much memory as all the rest of a stream. This one is not sent.
            chunk = b""
            yield chunk
    yield _retry()


def _retry() -> bytes:
    return f"retry: {random.randint(*RETRY_MS)}\n\n".encode()  # noqa: S311


def _wire(event: Event, total: int, stream: Stream) -> bytes:
    if event.seats is not None:
        text = event.texts.get(total)
        if text is None:
            text = event.texts[total] = _snapshot(event, event.seats, total)
        return text
    if stream.user is not None and event.user == stream.user:
        # She does not watch herself, but she has seen this version.
        return f"id: {_id(event)}\n\n".encode()
    text = event.texts.get(total)
    if text is None:
        text = event.texts[total] = _message(event.kind, _id(event), _encode(_data(event, total)))
    return text


def _id(event: Event) -> str | None:
    """The version; empty before the change is told to its end, since no reader holds a version then."""
    return "" if event.is_partial else event.version


def _data(event: Event, total: int) -> dict[str, Any]:
    if event.seat is None:
        data = event.data or {}
        return data if event.version is None else {**data, "version": event.version}
    data: dict[str, Any] = {"record": event.record.name, "viewer": event.seat.viewer}
    if event.reason:
        data["reason"] = event.reason
    return {**data, "total": total, "version": event.version}


def _snapshot(event: Event, seats: list[tuple[str, Seat]], total: int) -> bytes:
    viewers = ",".join([_seat_text(seat) for _, seat in seats])
    notes = event.notes or Notes()
    also = (("saved", notes.saves), ("claims", notes.claims), ("unconfirmed", event.is_unconfirmed))
    told = {name: what for name, what in also if what}
    rest = _encode({"record": event.record.name, "total": total, "version": event.version, **told})
    return _message("snapshot", _id(event), f'{{"viewers":[{viewers}],{rest[1:]}')


def _seat_text(seat: Seat) -> str:
    if seat.text is None:
        seat.text = _encode(seat.viewer)
    return seat.text


def _message(kind: str, event_id: str | None, data: str) -> bytes:
    identity = f"id: {event_id}\n" if event_id is not None else ""
    # Half a surrogate pair, which JSON can spell, has no UTF-8: one sender must not end every stream.
    return f"event: {kind}\n{identity}data: {data}\n\n".encode("utf-8", "replace")
