"""What is true, what was shown, and how far the two were apart."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Tab:
    """One tab from its first heartbeat to its end; times are of the monotonic clock."""

    id: str
    user: int
    record: str
    entered_at: float | None = None  # its first heartbeat was answered
    beaten_at: float | None = None  # its last answered heartbeat was sent
    confirmed_at: float | None = None  # ... and answered
    left_at: float | None = None  # it stopped, with or without a goodbye
    is_goodbye_heard: bool = False
    heard_at: float | None = None  # the goodbye was answered


@dataclass
class Span:
    """A wrong showing: from when to when it was seen, and where."""

    first: float
    last: float
    where: set[str] = field(default_factory=set)


@dataclass
class Verdict:
    """What one fault has led to."""

    answers: Counter[str] = field(default_factory=Counter)  # "200", "503", ...
    broken_promises: list[str] = field(default_factory=list)  # 5xx that may not be
    slowest_seconds: float = 0.0
    lists: int = 0
    failed_at: float | None = None  # last
    missing: dict[Tab, Span] = field(default_factory=dict)  # there but not shown
    missing_again: dict[Tab, Span] = field(default_factory=dict)  # ... though it has beaten since the fault
    ghosts: dict[Tab, Span] = field(default_factory=dict)  # gone with a goodbye and shown
    lingering: dict[Tab, Span] = field(default_factory=dict)  # gone without one and shown
    strangers: list[str] = field(default_factory=list)
    streams_cut: int = 0


class Judge:
    """Holds every answer against the tabs of whom it speaks."""

    def __init__(self, stream_lag_seconds: float, refusal_seconds: float) -> None:
        """An event may be under way for `stream_lag_seconds`, and a 503 may take `refusal_seconds`."""
        self.stream_lag_seconds = stream_lag_seconds
        self._refusal_seconds = refusal_seconds
        self.tabs: dict[str, dict[int, list[Tab]]] = defaultdict(lambda: defaultdict(list))
        self.verdict = Verdict()
        self._where = ""
        self.over_at: float | None = None  # when the fault was over
        self.undone_since = float("inf")  # what was answered from here on may be undone

    def add(self, tab: Tab) -> None:
        self.tabs[tab.record][tab.user].append(tab)

    def note(self, answer: Any) -> None:
        """An answer came, or none."""
        verdict = self.verdict
        verdict.answers[str(answer.status or "none")] += 1
        verdict.slowest_seconds = max(verdict.slowest_seconds, answer.seconds)
        if answer.status == 0 or answer.status >= 500:
            verdict.failed_at = answer.answered_at
        if answer.status >= 500 and (answer.status != 503 or "retry-after" not in answer.headers):
            verdict.broken_promises.append(f"{answer.status} {answer.body}")
        if answer.status == 503 and answer.seconds > self._refusal_seconds:
            verdict.broken_promises.append(f"503 after {answer.seconds:.1f} s")

    def note_stream(self, answer: Any) -> None:
        """A stream was opened, or was not."""
        if answer.status >= 500 and (answer.status != 503 or "retry-after" not in answer.headers):
            self.verdict.broken_promises.append(f"stream: {answer.status} {answer.body}")

    def see(
        self,
        where: str,
        record: str,
        shown: set[int],
        asked_at: float,
        answered_at: float,
        *,
        asker: int | None = None,
        lag: float = 0.0,
    ) -> None:
        """These users were shown as the viewers of a record, in an answer to `asker`, who is left out.

        `where`: by what kind of answer.
        """
        self.verdict.lists += 1
        self._where = where
        users = self.tabs[record]
        for user in shown - users.keys():
            self.verdict.strangers.append(f"{user} on {record}")
        for user, tabs in users.items():
            if user == asker:
                continue
            if user in shown:
                self._is_shown(tabs, asked_at - lag)
            else:
                self._is_missing(tabs, asked_at, answered_at, lag)

    def _is_shown(self, tabs: list[Tab], asked_at: float) -> None:
        """A list may be as old as its question: only until then is a ghost proven."""
        if any(tab.left_at is None or tab.left_at >= asked_at for tab in tabs):
            return
        silent = [tab for tab in tabs if not tab.is_goodbye_heard or self._is_undone(tab.heard_at)]
        if silent:  # other tabs of the user may have said goodbye; this one still has its lease
            last = max(silent, key=lambda tab: tab.left_at or 0)
            self._extend(self.verdict.lingering, last, last.left_at or 0, asked_at)
        elif all((tab.heard_at or 0) < asked_at for tab in tabs):
            last = max(tabs, key=lambda tab: tab.heard_at or 0)
            self._extend(self.verdict.ghosts, last, last.heard_at or 0, asked_at)

    def _is_undone(self, answered_at: float | None) -> bool:
        """Redis may have come back as it was before it gave this answer."""
        at = answered_at or 0
        return self.undone_since < at and (self.over_at is None or at < self.over_at)

    def _is_missing(self, tabs: list[Tab], asked_at: float, answered_at: float, lag: float) -> None:
        for tab in tabs:
            is_there = tab.entered_at is not None and tab.entered_at + lag < asked_at and tab.left_at is None
            if is_there:
                has_come_back = self.over_at is not None and self.over_at < (tab.beaten_at or 0)
                if has_come_back or not self._is_undone(tab.entered_at):
                    self._extend(self.verdict.missing, tab, asked_at, answered_at)
                if has_come_back and (tab.confirmed_at or 0) + lag < asked_at:
                    self._extend(self.verdict.missing_again, tab, asked_at, answered_at)
                return

    def _extend(self, spans: dict[Tab, Span], tab: Tab, first: float, last: float) -> None:
        span = spans.setdefault(tab, Span(first, last))
        span.last = last
        span.where.add(self._where)
