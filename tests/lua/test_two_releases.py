"""A rolling deployment: processes of two releases on one Redis, on one record, in turns.

`release_1/` is the Lua of the release before, as it was (commit 16cb060). When a release is made, it is
replaced by the Lua of the one before; what an earlier release answers differently is written down here.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from record_presence.presence.scripts import Script, compose, header
from tests.lua import commands
from tests.lua.commands import DAY_MS, LEASE_MS, NONCE, RECORD, Listener, age, call, state_of

STEPS = 250
TABS = {f"t{number}": 42 + number // 2 for number in range(6)}  # tab -> its user
FIELDS = ("title", "body", "steps")
RETIRED_STATUS_WORDS = {"FULL", "TOO_MANY_FIELDS"}


class Releases:
    """Calls the commands as the process of either release does."""

    def __init__(self, redis: Any, earlier: dict[str, Script]) -> None:
        self._redis = redis
        self._earlier = earlier

    def call(self, release: str, name: str, **values: Any) -> list[Any]:
        named = {"lease_ms": LEASE_MS, "nonce": NONCE, "timeline_ms": DAY_MS, **values}
        if release == "today":
            usual = {"default_lease_ms": LEASE_MS, "idle_ms": commands.IDLE_MS}
            return call(self._redis, name, RECORD, **{**usual, **named})
        script = self._earlier[name]
        keys = dict(zip(commands.ALL_KEY_NAMES, RECORD.keys, strict=True))
        arguments = {
            "usual_ms": LEASE_MS,
            "calls": RECORD.tabs_key,
            "calls_limit": 0,
            "window_ms": 1,
            **named,
        }
        reply = self._redis.eval(
            script.text,
            len(script.keys),
            *[keys.get(key, RECORD.tabs_key) for key in script.keys],
            *[arguments[argument] for argument in script.args],
        )
        return ["OK", reply] if isinstance(reply, str) else reply

    def beat(self, release: str, tab_id: str, **state: Any) -> str:
        user = TABS[tab_id]
        values = {"tab_id": tab_id, "state": state_of(user, f"User {user}", **state), "known_version": ""}
        return self.call(release, "heartbeat", **values, limit=100)[0]

    def leave(self, release: str, tab_id: str) -> str:
        return self.call(release, "leave", tab_id=tab_id, user=str(TABS[tab_id]), reason="left")[0]

    def viewers(self, release: str) -> dict[int, tuple[int, bool, bool]]:
        """User -> tabs, whether editing, whether one is dirty; as this release reads them."""
        reply = self.call(release, "viewers", known_version="?", limit=100, user="")
        rows = reply[10:] if release == "today" else reply[7:]
        found = {}
        for user, text in zip(rows[::2], rows[1::2], strict=True):
            entry = json.loads(text)
            found[json.loads(user)] = (entry[2], entry[3] > 0, entry[4] > 0)
        return found


@pytest.fixture(scope="module")
def earlier() -> Iterator[dict[str, Script]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header, "STATUS_WORDS", header.STATUS_WORDS | RETIRED_STATUS_WORDS)
        folder = Path(__file__).parent / "release_1"
        yield {path.stem: compose(path) for path in folder.glob("*.lua")}


@pytest.fixture
def releases(real_redis: Any, earlier: dict[str, Script]) -> Releases:
    return Releases(real_redis, earlier)


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_lost_or_counted_twice_while_two_releases_take_turns(real_redis, releases, seed):
    chance = random.Random(seed)
    live: dict[str, dict[str, Any]] = {}
    with Listener(real_redis) as listener:
        for step in range(STEPS):
            release, tab_id = chance.choice(("today", "earlier")), chance.choice(list(TABS))
            action = chance.random()
            if action < 0.5:
                state = {
                    "mode": chance.choice(("view", "edit")),
                    "dirty": chance.random() < 0.5,
                    "field": chance.choice((None, *FIELDS)),
                }
                assert releases.beat(release, tab_id, **state) == "OK"
                live[tab_id] = state
            elif action < 0.65:
                assert releases.leave(release, tab_id) == ("OK" if tab_id in live else "ABSENT")
                live.pop(tab_id, None)
            elif action < 0.75 and tab_id in live:
                age(real_redis, tab_id)
                del live[tab_id]
            elif action < 0.85 and live.get(tab_id, {}).get("mode") == "edit":
                values = {"field": chance.choice(FIELDS), "action": "claim"}
                releases.call(release, "claim", tab_id=tab_id, user=str(TABS[tab_id]), **values)

            expected = expected_viewers(live)
            for reader in ("today", "earlier"):
                assert releases.viewers(reader) == expected, f"step {step}: {release} {tab_id}"
        messages = listener.messages()

    assert [message for message in messages if message.get("reset")] == []
    commands.assert_chained(messages, "0")


@pytest.mark.parametrize(("first", "second"), [("today", "earlier"), ("earlier", "today")])
def test_heartbeats_of_both_releases_for_one_tab_change_nothing(real_redis, releases, first, second):
    state = {"mode": "edit", "dirty": True, "field": "title"}
    releases.beat(first, "t0", **state)
    releases.beat(first, "t1", **state)
    with Listener(real_redis) as listener:
        before = commands.contents(real_redis)
        for _ in range(3):
            for release in (second, first):
                assert releases.beat(release, "t0", **state) == "OK"
                assert releases.viewers(release) == {42: (2, True, True)}
        after = commands.contents(real_redis)

        assert listener.messages() == []
    for key in (RECORD.tabs_key, RECORD.viewers_key, RECORD.order_key):
        assert after[key] == before[key]


@pytest.mark.parametrize(("first", "second"), [("today", "earlier"), ("earlier", "today")])
def test_save_told_to_one_release_is_known_to_the_other(real_redis, releases, first, second):
    releases.beat(first, "t0", mode="edit")
    row = json.dumps(["7", "42", "User 42", "t0", "", "title"])
    for release, status in ((first, "OK"), (second, "OK")):
        values = {"told_by": "host"} if release == "today" else {}
        assert releases.call(release, "saved", row=row, **values)[0] in (status, "KNOWN")

    for release in (first, second):
        reply = releases.call(release, "viewers", known_version="?", limit=100, user="")
        saves = json.loads(reply[7] if release == "today" else reply[5])
        assert [save[0] for save in saves] == ["7"]


def test_claim_that_an_earlier_release_ends_is_passed_on_by_the_next_call_of_today(real_redis, releases):
    for tab_id in ("t0", "t2"):
        releases.beat("today", tab_id, mode="edit")

    def ask(release, tab_id, action):
        values = {"tab_id": tab_id, "user": str(TABS[tab_id]), "field": "title", "action": action}
        return releases.call(release, "claim", **values)[0]

    assert (ask("today", "t0", "claim"), ask("today", "t2", "wait")) == ("OK", "WAITING")
    for release in ("earlier", "today"):
        assert releases.viewers(release) == {42: (1, True, False), 43: (1, True, False)}
    assert ask("earlier", "t0", "release") == "OK"
    releases.beat("earlier", "t0", mode="edit", dirty=True)
    releases.viewers("today")

    assert commands.claimed(real_redis) == {"title": "t2"}


def test_index_of_unsaved_fields_is_right_after_an_earlier_release_has_changed_some(real_redis, releases):
    for user in range(1_000, 1_000 + commands.MANY):
        commands.heartbeat(real_redis, f"v{user}", user)
    releases.beat("today", "t0", mode="edit", dirty_fields=["title"])
    assert commands.check(real_redis, "title", "steps") == {"title": [1, 42]}
    releases.beat("earlier", "t0", mode="edit", dirty_fields=["steps"])
    releases.beat("today", "t2", mode="edit", dirty_fields=["body"])

    assert commands.check(real_redis, "title", "steps", "body") == {"steps": [1, 42], "body": [1, 43]}


def expected_viewers(live: dict[str, dict[str, Any]]) -> dict[int, tuple[int, bool, bool]]:
    found: dict[int, tuple[int, bool, bool]] = {}
    for tab_id, state in live.items():
        tabs, is_editing, is_dirty = found.get(TABS[tab_id], (0, False, False))
        found[TABS[tab_id]] = (tabs + 1, is_editing or state["mode"] == "edit", is_dirty or state["dirty"])
    return found
