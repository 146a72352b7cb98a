"""What must go well on the pages of every host.

A scenario is a generator: up to its `yield` something is set going, and after it, its outcome is waited for.
So what takes a lease, or a token's lifetime, passes on all hosts at the same time.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.hosts.hosts import Host
from tests.hosts.service import EditorPage, Stage, Visitor
from tests.waiting import wait_until

ALICE = 'Zoë "Zo" O’Hara'  # as names are
BOB = "<b>李 & Łukasz"
_USER_IDS = {ALICE: 1, BOB: 2}
_order_ids = itertools.count(1)


class People:
    """Everybody's browsers, one for each host; they are started when they are needed, and kept."""

    def __init__(self, stage: Stage, browser: Any) -> None:
        self.stage = stage
        self._browser = browser
        self._visitors: dict[tuple[Host, str], Visitor] = {}

    def visitor(self, host: Host, name: str) -> Visitor:
        """Somebody who is signed in. The same name is the same user in every host."""
        if (host, name) not in self._visitors:
            context = self._browser.new_context()
            self._visitors[host, name] = Visitor(context, self.stage, host, _USER_IDS[name], name)
        self._visitors[host, name].sign_in()
        return self._visitors[host, name]


class Cast:
    """Who takes part in a scenario on one host, and the order that they open."""

    def __init__(self, people: People, host: Host, other_host: Host) -> None:
        self.order_id = next(_order_ids)
        self.host = host
        self.other_host = other_host
        self.stage = people.stage
        self.pages: list[EditorPage] = []
        self._people = people

    def open(self, name: str, host: Host | None = None) -> EditorPage:
        """The order in a new tab of theirs."""
        self.pages.append(self._people.visitor(host or self.host, name).open(self.order_id))
        return self.pages[-1]

    def two_editors(self) -> tuple[EditorPage, EditorPage]:
        """Alice's and Bob's page, once each shows the other."""
        alice, bob = self.open(ALICE), self.open(BOB)
        alice.wait_for(BOB)
        bob.wait_for(ALICE)
        return alice, bob

    def departures(self) -> list[tuple[str, str]]:
        return self.stage.departures(self.order_id)

    def departure_of_bob(self) -> str:
        """Why Bob has left, once he has."""
        gone = wait_until(lambda: dict(self.departures()), lambda gone: BOB in gone)
        return gone[BOB]


Scenario = Callable[[Cast], Generator[None, None, None]]


def two_people(cast: Cast) -> Generator[None, None, None]:
    """They see each other, and not themselves, as a row of avatars."""
    alice, bob = cast.two_editors()
    yield
    assert (list(alice.people()), list(bob.people())) == ([BOB], [ALICE])
    assert not alice.has_markers()


def across_hosts(cast: Cast) -> Generator[None, None, None]:
    """The same order in another host: the other user is seen, and who has both open is one user."""
    here = cast.open(ALICE)
    also_there = cast.open(ALICE, cast.other_host)
    bob = cast.open(BOB, cast.other_host)
    yield
    for page in (here, also_there):
        page.wait_for(BOB)
    bob.wait_for(ALICE)
    viewers = wait_until(
        lambda: cast.stage.get(cast.order_id, "viewers")["viewers"],
        lambda viewers: sum(viewer["tabs"] for viewer in viewers) == 3,
    )
    assert {viewer["name"]: viewer["tabs"] for viewer in viewers} == {ALICE: 2, BOB: 1}


def unsaved_changes(cast: Cast) -> Generator[None, None, None]:
    """They are shown, and no longer once the old text is back."""
    alice, bob = cast.two_editors()
    before = alice.people()[BOB]
    bob.type("Summer sale")
    yield
    alice.wait_to_see(BOB, "unsaved changes")
    assert "unsaved" not in before
    bob.type("Spring sale")
    alice.wait_to_miss(BOB, "unsaved changes")


def leaving(cast: Cast) -> Generator[None, None, None]:
    """Who closes the tab is gone by the page's goodbye."""
    alice, bob = cast.two_editors()
    bob.close()
    yield
    alice.wait_for()
    assert cast.departure_of_bob() == "left"


def crash(cast: Cast) -> Generator[None, None, None]:
    """A page that could say nothing is gone with its lease."""
    alice, bob = cast.two_editors()
    bob.crash()
    yield
    alice.wait_for()
    assert cast.departure_of_bob() == "expired"


def sign_out(cast: Cast) -> Generator[None, None, None]:
    """Who signs out in another tab is gone, although the page stays open."""
    alice, bob = cast.two_editors()
    bob.visitor.sign_out()
    yield
    alice.wait_for()
    assert cast.departure_of_bob() in ("left", "expired")


def renewal(cast: Cast) -> Generator[None, None, None]:
    """A token is replaced before its end, and nobody is seen to leave."""
    alice, bob = cast.two_editors()
    yield
    for page in (alice, bob):  # the fourth is asked for when the first has ended
        wait_until(page.token_requests, lambda requests: requests >= 4)
    assert (list(alice.people()), list(bob.people())) == ([BOB], [ALICE])
    assert cast.departures() == []


SCENARIOS: dict[str, Scenario] = {
    "two people": two_people,
    "across hosts": across_hosts,
    "unsaved changes": unsaved_changes,
    "leaving": leaving,
    "crash": crash,
    "sign-out": sign_out,
    "token renewal": renewal,
}


def applies(name: str, host: Host) -> bool:
    """Whether a scenario means anything on this host."""
    return name != "token renewal" or host.has_tokens


@dataclass
class Attempt:
    """A scenario that was begun on a host."""

    cast: Cast
    rest: Generator[None, None, None]
    error: Exception | AssertionError | None = None

    def begin(self) -> None:
        try:
            next(self.rest)
        except (Exception, AssertionError) as error:  # it belongs to the test of this host
            self.error = error

    def finish(self) -> None:
        """Raises what went wrong, in the beginning too, and AssertionError for an error of a page."""
        if self.error:
            raise self.error
        next(self.rest, None)
        assert [error for page in self.cast.pages for error in page.visitor.errors] == []


@contextmanager
def begun(name: str, people: People, hosts: Iterable[Host]) -> Iterator[dict[Host, Attempt]]:
    """Begin a scenario on all of these hosts to which it applies."""
    hosts = list(hosts)
    attempts = {}
    for host, next_host in zip(hosts, [*hosts[1:], hosts[0]], strict=True):
        if applies(name, host):
            cast = Cast(people, host, next_host)
            attempts[host] = Attempt(cast, SCENARIOS[name](cast))
            attempts[host].begin()
    yield attempts
    for attempt in attempts.values():
        for page in attempt.cast.pages:
            page.close()
