"""Saves that Redis would not hear of, told again until it does.

They are kept in this process: what ends before Redis is back takes its own along.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from app.presence.errors import PresenceError, StoreUnavailable, TabOwnedByAnotherUser
from app.presence.records import UserId
from app.presence.service import RecordPresenceService

MOST_SAVES = 500
PATIENCE_SECONDS = 300.0  # afterwards whoever had the record open has heard of it in other ways
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0

log = logging.getLogger("presence.versioned")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One call of `record_saved`, which may be made as often as it takes."""

    service: RecordPresenceService
    record_type: str
    record_id: str | int
    lock_version: int
    fields: list[str]
    user_id: UserId
    user_name: str
    tab_id: str | None

    def tell(self) -> bool:
        """False when nobody has the record open. Raises PresenceError."""
        save = (
            *(self.record_type, self.record_id, self.lock_version, self.fields),
            *(self.user_id, self.user_name),
        )
        try:
            return self.service.record_saved(*save, self.tab_id)
        except TabOwnedByAnotherUser:  # who then must not take it for her own save
            return self.service.record_saved(*save)

    def for_log(self, **more: object) -> dict[str, object]:
        record = f"{self.record_type}:{self.record_id}"
        return {"record": record, "lock_version": self.lock_version, **more}


class Untold:
    """A queue with one thread, which is there while something is in it; under gevent a greenlet."""

    def __init__(
        self,
        *,
        most: int = MOST_SAVES,
        patience_seconds: float = PATIENCE_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        start: Callable[[threading.Thread], None] = threading.Thread.start,
    ) -> None:
        self._most = most
        self._patience_seconds = patience_seconds
        self._first_wait_seconds = first_wait_seconds
        self._start = start
        self._saves: deque[tuple[Announcement, float]] = deque()  # and until when it is tried
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._saves)

    def add(self, announcement: Announcement) -> None:
        """Keep it for later. Waits for nothing; in a full queue it is lost, which the log says."""
        with self._lock:
            if len(self._saves) >= self._most:
                log.error("a save is never announced: too many wait", extra=announcement.for_log())
                return
            self._saves.append((announcement, time.monotonic() + self._patience_seconds))
            if self._thread and self._thread.is_alive():  # not one of before a fork
                return
            self._thread = threading.Thread(target=self._run, name="presence-untold", daemon=True)
            self._start(self._thread)

    def _run(self) -> None:
        wait_seconds = self._first_wait_seconds
        while True:
            # Processes lose Redis together, and shall not all come back in the same moment.
            time.sleep(wait_seconds * random.uniform(0.5, 1))  # noqa: S311
            is_back = self.tell()
            wait_seconds = (
                self._first_wait_seconds if is_back else min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
            )
            with self._lock:
                if not self._saves:
                    self._thread = None
                    return

    def tell(self) -> bool:
        """Tell them in turn until Redis refuses one; whether it took any. Only one thread may call this."""
        is_any_told = False
        while self._saves:
            announcement, gives_up_at = self._saves[0]
            try:
                announcement.tell()
            except StoreUnavailable as error:
                if time.monotonic() < gives_up_at:
                    self._saves.rotate(-1)  # next time another is first: perhaps only this one's node is away
                    return is_any_told
                log.error("a save is never announced", extra=announcement.for_log(error=str(error)))
            except PresenceError as error:
                log.error("a save is never announced", extra=announcement.for_log(error=str(error)))
            except Exception:
                log.exception("a save is never announced", extra=announcement.for_log())
            else:
                is_any_told = True
                log.info("a save was announced late", extra=announcement.for_log())
            self._saves.popleft()
        return is_any_told
