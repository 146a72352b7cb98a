"""The forecast against a plain model: whatever its users do, it misses and invents no collision."""

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from unittest.mock import patch

import fakeredis
import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from record_presence.presence.conflicts import ConflictState
from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.forecast import forecast
from record_presence.presence.service import RecordPresenceService
from record_presence.safe_writes.announcement_queue import Announcement, AnnouncementQueue
from tests.lua.commands import LEASE_MS, age
from tests.presence.histories import histories

PROFILE = histories(40, 30, long=4_000, phases=(Phase.generate, Phase.shrink))

PEOPLE = {"a1": 1, "a2": 1, "b1": "2", "b2": "2", "c1": 3}  # tab -> user: two of them have two tabs
NAMES = {1: "Alice", "2": "Bob", 3: "Carol"}
FIELDS = ["name", "status", "steps"]
MAX_REMEMBERED_SAVES = 50

TABS = st.sampled_from(sorted(PEOPLE))
SOME_FIELDS = st.lists(st.sampled_from(FIELDS), unique=True, min_size=1)


@dataclass
class ModelSave:
    lock_version: int
    fields: list[str]
    user: int | str
    tab_id: str | None


@dataclass
class OpenPage:
    """What a tab has in its form. `loaded_ms` is Redis's time."""

    base_version: int
    loaded_ms: int
    unsaved: set[str] = field(default_factory=set)


@dataclass
class Reported:
    """What the service last heard of a tab."""

    unsaved: set[str]
    is_stale: bool = False


class ForecastMachine(RuleBasedStateMachine):
    """A record, people's pages, and the service. `saves` are all that ever happened and were told."""

    def __init__(self, redis, *, is_fast_redis):
        super().__init__()
        redis.flushall()
        self.redis = redis
        self.is_fast_redis = is_fast_redis
        self.service = RecordPresenceService(redis, 1, ttl_seconds=LEASE_MS / 1000)
        self.lock_version = 1
        self.has_forgotten = False
        self.saves = []
        self.unannounced = []  # saved, and not announced yet
        self.refused = []  # saved, and kept by the process, since Redis would not hear of it
        self.waiting = AnnouncementQueue(start=lambda thread: None)
        self.pages = {}
        self.reported = {}
        self.known = {}  # tab -> the version of the list that it has, and what it was foretold with it

    # What users do

    @rule(tab_id=TABS)
    def load(self, tab_id):
        """Open the page, or load it again; the service does not hear of that yet."""
        time.sleep(0.001)  # so that it is after, not in the same millisecond as, what was before
        seconds, microseconds = self.redis.time()
        self.pages[tab_id] = OpenPage(self.lock_version, seconds * 1000 + microseconds // 1000)
        self.known.pop(tab_id, None)

    @precondition(lambda self: self.pages)
    @rule(tab_id=TABS, fields=SOME_FIELDS)
    def edit(self, tab_id, fields):
        if page := self.pages.get(tab_id):
            page.unsaved ^= set(fields)  # what is typed back is no change
            self.beat(tab_id)

    @precondition(lambda self: self.pages)
    @rule(tab_id=TABS)
    def beat(self, tab_id):
        """Ask for the forecast, with the version of the list that the tab has."""
        if not (page := self.pages.get(tab_id)):
            return
        user, unsaved = PEOPLE[tab_id], sorted(page.unsaved)
        known_version, foretold = self.known.get(tab_id, (None, None))
        answer = self.service.update_presence(
            *("flow", 12, tab_id, user, NAMES[user], "edit", bool(unsaved)),
            dirty_fields=unsaved,
            base_version=page.base_version,
            list_viewers=True,
            known_version=known_version,
        )
        self.reported[tab_id] = Reported(set(unsaved))
        self.sweep()
        forecast = answer.forecast
        if forecast is None:  # nothing has changed, and what was foretold still holds
            forecast = foretold
        self.check(tab_id, forecast)
        self.known[tab_id] = (answer.version, forecast)

    @precondition(lambda self: self.pages)
    @rule(
        tab_id=TABS,
        told=st.sampled_from(["with its tab", "without a tab", "later", "once Redis is back"]),
        times=st.just(1),
    )
    def save(self, tab_id, told, times):
        """Refused unless it is based on the newest version."""
        page = self.pages.get(tab_id)
        if not page or page.base_version != self.lock_version or not page.unsaved:
            return
        for _ in range(times):
            self.lock_version += 1
            save = ModelSave(self.lock_version, sorted(page.unsaved), PEOPLE[tab_id], tab_id)
            if told == "later":
                self.unannounced.append(save)
            elif told == "once Redis is back":
                self.announce_in_vain(save)
            else:
                save.tab_id = tab_id if told == "with its tab" else None
                self.announce(save)
        page.base_version = self.lock_version
        page.unsaved = set()
        self.known.pop(tab_id, None)  # with another base version, the tab asks again

    @precondition(lambda self: self.is_fast_redis and self.pages and not self.has_forgotten)
    @rule(tab_id=TABS, fields=SOME_FIELDS)
    def save_very_often(self, tab_id, fields):
        """More versions than are remembered; once, since it takes as long as all else."""
        if page := self.pages.get(tab_id):
            self.has_forgotten = True
            page.base_version, page.unsaved = self.lock_version, set(fields)
            self.save(tab_id, "with its tab", MAX_REMEMBERED_SAVES + 3)

    @precondition(lambda self: self.unannounced)
    @rule(random=st.randoms(use_true_random=False))
    def announce_late(self, random):
        """In any order, and perhaps twice."""
        save = random.choice(self.unannounced)
        if random.random() < 0.8:
            self.unannounced.remove(save)
        self.announce(save)

    def announce_in_vain(self, save):
        """Redis would not hear of it, so that the process keeps it."""
        told = (save.lock_version, save.fields, save.user, NAMES[save.user], save.tab_id)
        announcement = Announcement(self.service, "flow", 12, *told)
        with self.redis_that_refuses(), pytest.raises(StoreUnavailable):
            announcement.send()
        self.waiting.add(announcement)
        self.refused.append(save)

    @contextmanager
    def redis_that_refuses(self):
        """A full one; the embedded one can't be."""
        if self.is_fast_redis:
            self.redis.config_set("maxmemory", 1)
            try:
                yield
            finally:
                self.redis.config_set("maxmemory", 0)
        else:
            with patch.object(self.service, "announce_save", side_effect=StoreUnavailable("away")):
                yield

    @precondition(lambda self: self.refused)
    @rule()
    def try_again_in_vain(self):
        with self.redis_that_refuses():
            assert not self.waiting.flush()
        assert len(self.waiting) == len(self.refused)

    @precondition(lambda self: self.refused)
    @rule()
    def come_back(self):
        """What the process kept is told, and from then on part of every forecast."""
        assert self.waiting.flush()
        assert len(self.waiting) == 0
        self.sweep()
        self.saves += self.refused
        self.refused = []

    def announce(self, save):
        told = (save.lock_version, save.fields, save.user, NAMES[save.user], save.tab_id)
        is_told = self.service.record_saved("flow", 12, *told)
        self.sweep()
        assert is_told == bool(self.reported)
        if save not in self.saves:
            self.saves.append(save)

    @precondition(lambda self: self.reported)
    @rule(tab_id=TABS)
    def expire(self, tab_id):
        if tab_id in self.reported and not self.reported[tab_id].is_stale:
            age(self.redis, tab_id)
            self.reported[tab_id].is_stale = True

    @precondition(lambda self: self.reported)
    @rule(tab_id=TABS)
    def leave(self, tab_id):
        """The page is closed."""
        self.service.remove_presence("flow", 12, tab_id, PEOPLE[tab_id])
        self.reported.pop(tab_id, None)
        self.pages.pop(tab_id, None)
        self.known.pop(tab_id, None)
        self.sweep()

    # What must be true

    def sweep(self):
        self.reported = {tab_id: tab for tab_id, tab in self.reported.items() if not tab.is_stale}

    def check(self, tab_id, forecast):
        page, user = self.pages[tab_id], PEOPLE[tab_id]
        missed = sorted(
            (save for save in self.saves if save.lock_version > page.base_version and save.tab_id != tab_id),
            key=lambda save: save.lock_version,
        )
        expected = [
            {
                "lock_version": save.lock_version,
                "fields": save.fields,
                "user": {"id": save.user, "name": NAMES[save.user]},
                "tab_id": save.tab_id,
                "own": save.user == user,
                "touches": [name for name in save.fields if name in page.unsaved],
            }
            for save in missed
        ]
        found = [
            {name: what for name, what in save.items() if name != "saved_at"} for save in forecast["saves"]
        ]
        assert forecast["base_version"] == page.base_version
        assert [save for save in found if save not in expected] == [], "invented"
        since_ms = datetime.fromisoformat(forecast["remembered_since"]).timestamp() * 1000
        if page.loaded_ms > since_ms:
            assert found == expected, "missed"
        touched = {name for save in found for name in save["touches"]}
        assert forecast["collisions"] == sorted(touched)

        contested = {
            name: {
                PEOPLE[other]
                for other, reported in self.reported.items()
                if PEOPLE[other] != user and name in reported.unsaved
            }
            for name in sorted(page.unsaved)
        }
        assert {
            name: {holder["id"] for holder in holders} for name, holders in forecast["contested"].items()
        } == {name: users for name, users in contested.items() if users}
        assert forecast["own_tabs"] == sum(
            PEOPLE[other] == user and other != tab_id for other in self.reported
        )
        assert forecast["own_contested"] == [
            name
            for name in sorted(page.unsaved)
            if any(
                PEOPLE[other] == user and other != tab_id and name in reported.unsaved
                for other, reported in self.reported.items()
            )
        ]
        for holders in forecast["contested"].values():
            assert all(holder["name"] == NAMES[holder["id"]] for holder in holders)
            assert len({holder["id"] for holder in holders}) == len(holders)


def test_tab_is_not_foretold_its_own_save_and_the_users_other_tab_is():
    save = {
        "lock_version": 8,
        "fields": ["name"],
        "user": {"id": 42, "name": "Alice"},
        "tab_id": "t1",
        "saved_at": "",
    }

    def saves_for(tab_id):
        options = {"user_id": 42, "base_version": 7, "dirty_fields": ["name"]}
        return forecast(ConflictState(saves=[save]), [], tab_id=tab_id, **options)["saves"]

    assert saves_for("t1") == []
    assert saves_for("t2") == [{**save, "own": True, "touches": ["name"]}]


def test_forecast_is_bounded_and_names_somebody_for_each_contested_field():
    fields = [f"field-{number}" for number in range(100)]
    others = [
        {"id": str(n) * 200, "name": "\N{PILE OF POO}" * 200, "dirty_fields": fields} for n in range(100)
    ]

    foretold = forecast(ConflictState(), others, tab_id="t1", user_id=42, base_version=7, dirty_fields=fields)

    first = {"id": others[0]["id"], "name": others[0]["name"]}
    assert list(foretold["contested"]) == fields
    assert all(users[0] == first for users in foretold["contested"].values())
    assert len(json.dumps(foretold, ensure_ascii=False).encode()) < 150_000


def test_forecast_misses_no_collision_and_invents_none(redis):
    is_fast_redis = not isinstance(redis, fakeredis.FakeRedis)
    run_state_machine_as_test(lambda: ForecastMachine(redis, is_fast_redis=is_fast_redis), settings=PROFILE)
