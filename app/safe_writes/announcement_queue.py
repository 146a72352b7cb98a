"""Saves that could not be announced while Redis was unavailable, tried again until it is back.

They are kept in memory: a process that ends before Redis is back loses its own.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..presence.errors import PresenceError, StoreUnavailable, TabOwnedByAnotherUser
from ..presence.results import SaveResult
from ..presence.service import RecordPresenceService
from ..presence.viewers import UserId

MAX_QUEUED_SAVES = 500
GIVE_UP_AFTER_SECONDS = 300.0  # by then the viewers have learned of the save in other ways
FIRST_RETRY_DELAY_SECONDS = 0.5
MAX_RETRY_DELAY_SECONDS = 10.0

log = logging.getLogger("presence.versioned")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One call of `announce_save`, which may be repeated any number of times."""

    service: RecordPresenceService
    record_type: str
    record_id: str | int
    lock_version: int
    fields: list[str]
    user_id: UserId
    user_name: str
    tab_id: str | None

    def send(self) -> SaveResult:
        """Tell the viewers, and learn whose unsaved fields it touched. Raises PresenceError."""
        save = (
            *(self.record_type, self.record_id, self.lock_version, self.fields),
            *(self.user_id, self.user_name),
        )
        try:
            return self.service.announce_save(*save, self.tab_id, told_by="host")
        except TabOwnedByAnotherUser:  # whose page must not take it for its own save
            return self.service.announce_save(*save, None, told_by="host")

    def is_of_same_record(self, other: "Announcement") -> bool:
        is_same_tenant = self.service is other.service
        names = [(each.record_type, str(each.record_id)) for each in (self, other)]
        return is_same_tenant and names[0] == names[1]

    def for_log(self, **more: object) -> dict[str, object]:
        record = f"{self.record_type}:{self.record_id}"
        return {"record": record, "lock_version": self.lock_version, **more}


class AnnouncementQueue:
    """A queue with one thread (under gevent a greenlet), which runs only while something is queued."""

    def __init__(
        self,
        *,
        max_saves: int = MAX_QUEUED_SAVES,
        give_up_after_seconds: float = GIVE_UP_AFTER_SECONDS,
        first_retry_delay_seconds: float = FIRST_RETRY_DELAY_SECONDS,
        start: Callable[[threading.Thread], None] = threading.Thread.start,
    ) -> None:
        self._max_saves = max_saves
        self._give_up_after_seconds = give_up_after_seconds
        self._first_retry_delay_seconds = first_retry_delay_seconds
        self._start = start
        self._saves: deque[tuple[Announcement, float]] = deque()  # with the time to give up, monotonic
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._saves)

    def holds_record_of(self, announcement: Announcement) -> bool:
        """Whether an earlier save of the same record waits, which has to be announced first."""
        with self._lock:
            return any(announcement.is_of_same_record(waiting) for waiting, _ in self._saves)

    def announce(self, announcement: Announcement) -> SaveResult:
        """Tell the viewers now, or keep it for later if Redis is unavailable. Never raises PresenceError,
        since the save is done: then, and while it waits, the result is false and has no reason."""
        if self.holds_record_of(announcement):
            self.add(announcement)
            return SaveResult(False)
        try:
            return announcement.send()
        except PresenceError as error:
            log.warning("a save was not announced", extra=announcement.for_log(error=str(error)))
            if isinstance(error, StoreUnavailable):
                self.add(announcement)
            return SaveResult(False)

    def add(self, announcement: Announcement) -> None:
        """Keep an announcement for later, without waiting. If the queue is full, it is dropped and logged."""
        with self._lock:
            if len(self._saves) >= self._max_saves:
                log.error("a save is never announced: too many wait", extra=announcement.for_log())
                return
            self._saves.append((announcement, time.monotonic() + self._give_up_after_seconds))
            if self._thread and self._thread.is_alive():  # after a fork it is not
                return
            self._thread = threading.Thread(target=self._run, name="presence-announcements", daemon=True)
            self._start(self._thread)

    def _run(self) -> None:
        delay_seconds = self._first_retry_delay_seconds
        while True:
            # All processes lose Redis at once; they should not all try again at the same moment.
            time.sleep(delay_seconds * random.uniform(0.5, 1))  # noqa: S311
            is_back = self.flush()
            delay_seconds = (
                self._first_retry_delay_seconds
                if is_back
                else min(delay_seconds * 2, MAX_RETRY_DELAY_SECONDS)
            )
            with self._lock:
                if not self._saves:
                    self._thread = None
                    return

    def flush(self) -> bool:
        """Announce the saves in turn until one fails; True if any succeeded. For one thread at a time."""
        is_any_sent = False
        while self._saves:
            announcement, give_up_at = self._saves[0]
            try:
                announcement.send()
            except StoreUnavailable as error:
                if time.monotonic() < give_up_at:
                    self._put_off(announcement)
                    return is_any_sent
                log.error("a save is never announced", extra=announcement.for_log(error=str(error)))
            except PresenceError as error:
                log.error("a save is never announced", extra=announcement.for_log(error=str(error)))
            except Exception:
                log.exception("a save is never announced", extra=announcement.for_log())
            else:
                is_any_sent = True
                log.info("a save was announced late", extra=announcement.for_log())
            self._saves.popleft()
        return is_any_sent

    def _put_off(self, announcement: Announcement) -> None:
        """Try another record first next time, since perhaps only the node of this one is down.

        The saves of a record keep their order: a lower version that is announced after a higher one
        counts as that of a restored backup.
        """
        with self._lock:
            saves = list(self._saves)
            self._saves.clear()
            self._saves.extend(save for save in saves if not announcement.is_of_same_record(save[0]))
            self._saves.extend(save for save in saves if announcement.is_of_same_record(save[0]))
