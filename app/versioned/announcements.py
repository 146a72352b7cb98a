"""Who writes, as a request of a Flask application has it, and announcing what they have saved."""

from flask import current_app

from ..api.extension import current_extension
from ..identity.caller import Caller
from ..presence.results import SaveResult
from ..safe_writes.announcement_queue import AnnouncementQueue
from ..safe_writes.refusals import Saved
from ..safe_writes.writer import Writer

QUEUE_EXTENSION = "presence_announcements"  # in `app.extensions`


def writer_of(caller: Caller, record_type: str, record_id: str | int, *, tab_id: str | None = None) -> Writer:
    """The caller as the writer of this record. Needs an application that has the service."""
    service = current_extension().service(caller.tenant)
    return Writer(service, record_type, record_id, caller.user_id, caller.user_name, tab_id)


def announce(
    caller: Caller, record_type: str, record_id: str | int, saved: Saved, *, tab_id: str | None = None
) -> SaveResult:
    """Announce a save to the record's viewers, on the caller's behalf, and say whom it hit: `touched`.

    The result is false in a condition if nobody has heard of it yet. Needs an application that has the
    service. Never raises, since the save is done: if Redis is unavailable, this costs the time of one
    call at most, and the process tries again for five minutes, as long as it runs.
    """
    if not saved.fields:
        return SaveResult(False)
    writer = writer_of(caller, record_type, record_id, tab_id=tab_id)
    return _queue().announce(writer.announcement(saved.lock_version, saved.fields))


def _queue() -> AnnouncementQueue:
    """The queue of the application that serves this request."""
    queue: AnnouncementQueue = current_app.extensions.setdefault(QUEUE_EXTENSION, AnnouncementQueue())
    return queue
