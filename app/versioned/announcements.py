"""Announcing saves to the viewers of a record."""

import logging

from flask import current_app

from ..api.extension import current_extension
from ..identity.caller import Caller
from ..presence.errors import PresenceError, StoreUnavailable
from .announcement_queue import Announcement, AnnouncementQueue
from .save import Saved

QUEUE_EXTENSION = "presence_announcements"  # in `app.extensions`

log = logging.getLogger("presence.versioned")


def announce(
    caller: Caller, record_type: str, record_id: str | int, saved: Saved, *, tab_id: str | None = None
) -> bool:
    """Announce a save to the record's viewers, on the caller's behalf; False if nobody has heard of it yet.

    Needs an application that has the service. Never raises, since the save is
    done: if Redis is unavailable, this costs the time of one call at most, and the
    process tries again for five minutes, as long as it runs.
    """
    if not saved.fields:
        return False
    announcement = Announcement(
        current_extension().service(caller.tenant),
        *(record_type, record_id, saved.lock_version, saved.fields),
        *(caller.user_id, caller.user_name, tab_id),
    )
    if _queue().holds_record_of(announcement):
        _queue().add(announcement)
        return False
    try:
        return announcement.send()
    except PresenceError as error:
        log.warning("a save was not announced", extra=announcement.for_log(error=str(error)))
        if isinstance(error, StoreUnavailable):
            _queue().add(announcement)
        return False


def _queue() -> AnnouncementQueue:
    """The queue of the application that serves this request."""
    queue: AnnouncementQueue = current_app.extensions.setdefault(QUEUE_EXTENSION, AnnouncementQueue())
    return queue
