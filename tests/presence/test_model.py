"""Random histories against a plain model, and many clients at once.

`make model` plays a million steps: tests/presence/long_model.py.
"""

import json
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from shutil import copytree
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
import redis as redis_py
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.presence.errors import TabOwnedByAnotherUser
from app.presence.records import Record, user_key
from app.presence.scripts import LUA_DIRECTORY, Scripts
from app.presence.service import RecordPresenceService
from tests.lua.commands import Listener, assert_chained, contents, pass_time, set_clock_back
from tests.presence.histories import histories
from tests.redis_cluster import RedisCluster

RECORD = Record("1", "flow", "12")

# Leases end five seconds off every step of time: however slowly a history
# runs, a lease is never over by a moment here and not there.
LEASE_MS, SHORT_LEASE_MS = 95_000, 25_000
HISTORY_MS = 4_000  # that a moment may be off, of the time that is given back
STEPS_MS = [10_000, 30_000, 70_000, 100_000]
HOUR_MS = 3_600_000

PROFILE = histories(100, 30, long=4_000, phases=(Phase.generate, Phase.shrink))
CLUSTER_PROFILE = histories(30, 30, long=1_000, phases=(Phase.generate, Phase.shrink))

USERS = [42, "42", 7]
TABS = ["t1", "t2", "t3", "t4"]
NAMES = ["Alice", "Alicia"]
FIELDS = [None, "title", "body"]
UNSAVED = [(), ("title",), ("title", "body")]
CLAIMED = ["title", "body"]
VERSIONS = [3, 9, 10, 11]  # of saves, told in any order and more than once


@dataclass
class Tab:
    user: int | str
    name: str
    mode: str
    dirty: bool
    active_field: str | None
    lease_end: int
    unsaved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    tab_id: str
    user: str
    name: str
    taken_from: tuple[str, ...] = ()


@dataclass
class Model:
    """What a record must say, told with a dict. Time stands still but for `now`.

    A tab whose lease is over stays in `tabs` until a script sweeps it: only
    then does its user leave. `saves` are rows by version, without their times.
    """

    now: int = 0
    tabs: dict[str, Tab] = field(default_factory=dict)
    arrivals: list[int | str] = field(default_factory=list)
    names: dict[int | str, str] = field(default_factory=dict)
    saves: dict[int, list[str]] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    version: str = "0"
    damaged: bool = False  # a key was lost and no script has run since
    ordered: bool = True  # the arrivals were not lost since the record was empty

    def is_live(self, tab_id):
        return tab_id in self.tabs and self.tabs[tab_id].lease_end > self.now

    def owner(self, tab_id):
        return self.tabs[tab_id].user if self.is_live(tab_id) else None

    def put(self, tab_id, tab):
        held = self.tabs.get(tab_id)
        renamed = held is None or held.name != tab.name
        if held and user_key(held.user) != user_key(tab.user):
            self.end_claims_of(tab_id)
        if tab.user not in self.arrivals:
            self.arrivals.append(tab.user)
            renamed = True
        if renamed:
            self.names[tab.user] = tab.name
        self.tabs[tab_id] = tab

    def settle(self):
        """What every script does that was not refused."""
        self.tabs = {tab_id: tab for tab_id, tab in self.tabs.items() if tab.lease_end > self.now}
        for tab in self.tabs.values():
            tab.lease_end = min(tab.lease_end, self.now + LEASE_MS)
        users = {tab.user for tab in self.tabs.values()}
        self.arrivals = [user for user in self.arrivals if user in users]
        self.names = {user: name for user, name in self.names.items() if user in users}
        self.claims = {name: claim for name, claim in self.claims.items() if claim.tab_id in self.tabs}
        if not self.tabs:
            self.ordered = True
            self.saves = {}

    def end_claims_of(self, tab_id):
        self.claims = {name: claim for name, claim in self.claims.items() if claim.tab_id != tab_id}

    def lose_tabs(self):
        self.tabs, self.arrivals, self.names = {}, [], {}

    def lose_notes(self):
        self.saves, self.claims = {}, {}

    def viewers(self):
        return [self.viewer(user) for user in self.arrivals]

    def viewer(self, user):
        tabs = [tab for tab in self.tabs.values() if tab.user == user and type(tab.user) is type(user)]
        viewer = {
            "id": user,
            "name": self.names[user],
            "tabs": len(tabs),
            "mode": "edit" if any(tab.mode == "edit" for tab in tabs) else "view",
            "has_dirty_tab": any(tab.dirty for tab in tabs),
            "active_fields": sorted({tab.active_field for tab in tabs if tab.active_field}),
        }
        if unsaved := sorted({name for tab in tabs for name in tab.unsaved}):
            viewer["dirty_fields"] = unsaved
        return viewer


def without_time(row, place):
    return row and [text for index, text in enumerate(row) if index != place]


def claims_in(rows):
    """Rows as lua/lib/notes.lua writes them; an empty list is an object there."""
    return {row[0]: Claim(*row[1:4], tuple(row[5:])) for row in rows}


def by_user(viewers):
    return {user_key(viewer["id"]): viewer for viewer in viewers}


@cache
def small_crowds():
    """The scripts, but that two viewers are a crowd: so histories of three people reach its index."""
    with TemporaryDirectory() as directory:
        lua = Path(directory, "lua")
        copytree(LUA_DIRECTORY, lua)
        roster = (lua / "lib/roster.lua").read_text("utf-8")
        assert roster.count("local CROWD = 128 ") == 1
        (lua / "lib/roster.lua").write_text(roster.replace("CROWD = 128 ", "CROWD = 1 "), "utf-8")
        return Scripts(lua)


class PresenceMachine(RuleBasedStateMachine):
    def __init__(self, redis, scripts=None):
        super().__init__()
        redis.flushall()
        self.redis = redis
        self.are_crowds_small = scripts is not None
        self.service = RecordPresenceService(redis, 1, ttl_seconds=LEASE_MS / 1000, scripts=scripts)
        self.listener = Listener(redis, RECORD).__enter__()
        self.model = Model()
        self.shown = {}  # the viewers as a stream's client knows them
        self.claims_shown = {}
        self.held_at = time.monotonic()
        self.strayed = False  # a field stands in the hash that has no lease

    def teardown(self):
        self.listener.__exit__()

    @invariant()
    def time_stands_still(self):
        """A busy machine takes seconds for a history; they are given back."""
        passed_ms = int((time.monotonic() - self.held_at) * 1000)
        if passed_ms > 500:
            set_clock_back(self.redis, passed_ms)
            self.held_at += passed_ms / 1000

    # What people do

    @rule(
        tab_id=st.sampled_from(TABS),
        user=st.sampled_from(USERS),
        name=st.sampled_from(NAMES),
        mode=st.sampled_from(["view", "edit"]),
        dirty=st.booleans(),
        active_field=st.sampled_from(FIELDS),
        unsaved=st.sampled_from(UNSAVED),
        visible=st.booleans(),
        lease_ms=st.sampled_from([LEASE_MS, LEASE_MS, SHORT_LEASE_MS]),
    )
    def beat(self, tab_id, user, name, mode, dirty, active_field, unsaved, visible, lease_ms):
        lease_end = self.model.now + lease_ms
        self.heartbeat(tab_id, Tab(user, name, mode, dirty, active_field, lease_end, unsaved), visible)

    @rule(tab_id=st.sampled_from(TABS), ask=st.booleans())
    def beat_again(self, tab_id, ask):
        """Most heartbeats: nothing has changed."""
        held = self.model.tabs.get(tab_id)
        if held:
            self.heartbeat(tab_id, replace(held, lease_end=self.model.now + LEASE_MS), True, ask)

    def heartbeat(self, tab_id, tab, visible, ask=False):
        owner = self.model.owner(tab_id)
        arguments = ("flow", 12, tab_id, tab.user, tab.name, tab.mode, tab.dirty)
        options = {
            "active_field": tab.active_field,
            "dirty_fields": tab.unsaved,
            "visible": visible,
            "list_viewers": ask,
            "known_version": self.model.version,
            "lease_seconds": (tab.lease_end - self.model.now) / 1000,
        }
        if owner is not None and user_key(owner) != user_key(tab.user):
            self.is_refused(lambda: self.service.update_presence(*arguments, **options))
            return
        answer = self.service.update_presence(*arguments, **options)
        self.model.put(tab_id, tab)
        self.settled(by_heartbeat=True)
        assert answer.version == self.model.version
        if answer.viewers is not None:
            others = [
                viewer for viewer in self.model.viewers() if user_key(viewer["id"]) != user_key(tab.user)
            ]
            assert by_user(answer.viewers) == by_user(others)
            assert answer.total == len(others)
            self.look_at_notes(answer.notes)

    @rule(tab_id=st.sampled_from(TABS), user=st.sampled_from([*USERS, None]))
    def leave(self, tab_id, user):
        owner = self.model.owner(tab_id)
        if user is not None and owner is not None and user_key(owner) != user_key(user):
            self.is_refused(self.service.remove_presence, "flow", 12, tab_id, user)
            return
        assert self.service.remove_presence("flow", 12, tab_id, user) == (owner is not None)
        if owner is not None:
            del self.model.tabs[tab_id]
        self.settled()

    @rule(
        tab_id=st.sampled_from([*TABS, "elsewhere", None]),
        user=st.sampled_from(USERS),
        lock_version=st.sampled_from(VERSIONS),
        fields=st.lists(st.sampled_from(CLAIMED), max_size=2),
    )
    def save(self, tab_id, user, lock_version, fields):
        owner = self.model.owner(tab_id)
        arguments = ("flow", 12, lock_version, fields, user, "Saver", tab_id)
        if owner is not None and user_key(owner) != user_key(user):
            self.is_refused(self.service.record_saved, *arguments)
            return
        is_announced = self.service.record_saved(*arguments)
        row = [str(lock_version), user_key(user), "Saver", tab_id or "", *sorted(set(fields))]
        saved = self.model.saves.setdefault(lock_version, row) is row
        self.settled(saved=row if saved else None)
        assert is_announced == bool(self.model.tabs)

    @rule(
        tab_id=st.sampled_from(TABS),
        user=st.sampled_from(USERS),
        name=st.sampled_from(CLAIMED),
        take_over=st.booleans(),
    )
    def claim(self, tab_id, user, name, take_over):
        owner, held = self.model.owner(tab_id), self.model.claims.get(name)
        arguments = ("flow", 12, tab_id, user, name)
        if owner is not None and user_key(owner) != user_key(user):
            self.is_refused(self.service.claim_field, *arguments)
            return
        is_held = held is not None and self.model.is_live(held.tab_id)
        before = contents(self.redis)
        answer = self.service.claim_field(*arguments, take_over=take_over)
        if owner is None or (is_held and held.tab_id != tab_id and not take_over):
            assert (answer.is_granted, contents(self.redis)) == (False, before)
            assert (answer.claim and answer.claim["tab_id"]) == (held.tab_id if owner is not None else None)
            return
        if not is_held or held.tab_id != tab_id:
            taken_from = (held.user, held.name) if is_held else ()
            tab = self.model.tabs[tab_id]
            self.model.claims[name] = Claim(tab_id, user_key(tab.user), tab.name, taken_from)
        self.settled()
        assert (answer.is_granted, answer.claim["tab_id"]) == (True, tab_id)

    @rule(tab_id=st.sampled_from(TABS), user=st.sampled_from(USERS), name=st.sampled_from(CLAIMED))
    def release(self, tab_id, user, name):
        owner, held = self.model.owner(tab_id), self.model.claims.get(name)
        arguments = ("flow", 12, tab_id, user, name)
        if owner is not None and user_key(owner) != user_key(user):
            self.is_refused(self.service.release_field, *arguments)
            return
        before = contents(self.redis)
        self.service.release_field(*arguments)
        if owner is None:
            assert contents(self.redis) == before
            return
        if held and held.tab_id == tab_id:
            del self.model.claims[name]
        self.settled()

    def is_refused(self, call, *arguments):
        before = contents(self.redis)
        with pytest.raises(TabOwnedByAnotherUser):
            call(*arguments)
        assert contents(self.redis) == before

    @rule()
    def read_viewers(self):
        answer = self.service.list_viewers("flow", 12)
        self.settled()
        assert answer.version == self.model.version
        assert answer.total == len(answer.viewers)
        assert by_user(answer.viewers) == by_user(self.model.viewers())
        if self.model.ordered:
            assert answer.viewers == self.model.viewers()
        self.look_at_notes(answer.notes)
        assert self.service.list_viewers("flow", 12, known_version=answer.version).viewers is None

    @rule()
    def read_tabs(self):
        tabs = self.service.get_presence("flow", 12)
        self.settled()
        assert {
            tab_id: (
                user_key(tab["user_id"]),
                tab["user_name"],
                tab["mode"],
                tab["dirty"],
                tab["active_field"],
                tuple(sorted(tab.get("dirty_fields", ()))),
            )
            for tab_id, tab in tabs.items()
        } == {
            tab_id: (
                user_key(tab.user),
                tab.name,
                tab.mode,
                tab.dirty,
                tab.active_field,
                tuple(sorted(tab.unsaved)),
            )
            for tab_id, tab in self.model.tabs.items()
        }

    # What time and Redis do

    @rule(step_ms=st.sampled_from(STEPS_MS))
    def time_passes(self, step_ms):
        pass_time(self.redis, step_ms)
        self.model.now += step_ms
        if not self.redis.exists(*RECORD.keys):
            assert not any(self.model.is_live(tab_id) for tab_id in self.model.tabs)
            self.forget()

    @precondition(lambda self: self.model.tabs)
    @rule()
    def clock_is_set_back(self):
        set_clock_back(self.redis, HOUR_MS)
        for tab in self.model.tabs.values():
            tab.lease_end += HOUR_MS

    @rule(lost=st.sampled_from(["tabs", "seen", "viewers"]))
    def key_is_evicted(self, lost):
        if not self.redis.delete(getattr(RECORD, f"{lost}_key")):
            return
        self.model.damaged = True
        if lost == "viewers":
            self.model.version, self.model.ordered = "0", False
            self.model.lose_notes()
            self.claims_shown = {}
        else:
            self.model.lose_tabs()
            if lost == "tabs":
                self.strayed = False  # went with the rest
        if not self.redis.exists(RECORD.tabs_key, RECORD.seen_key, RECORD.viewers_key):
            self.redis.delete(RECORD.order_key)  # an index alone is no record; it ends by itself
            self.forget()

    @precondition(lambda self: self.model.tabs and not self.model.damaged)
    @rule(state=st.sampled_from(["no JSON", "[]", '["7","Ghost"]']))
    def somebody_writes_a_field_without_a_lease(self, state):
        self.redis.hset(RECORD.tabs_key, "by hand", state)
        self.strayed = True

    def forget(self):
        """The record is gone without a word: nobody asked while it ended."""
        self.model.lose_tabs()
        self.model.lose_notes()
        self.model.version, self.model.damaged, self.model.ordered = "0", False, True
        self.shown, self.claims_shown, self.strayed = {}, {}, False

    # What must be true

    def settled(self, by_heartbeat=False, saved=None):
        """A script has run through: hold what it announced against what changed.

        `saved` is the row of a save that was not known before.
        """
        model, heard = self.model, self.listener.messages()
        # Without a change, one only says when the next lease ends.
        messages = [message for message in heard if "previous" in message]
        assert len(heard) <= 1
        strayed, self.strayed = self.strayed, bool(self.redis.hexists(RECORD.tabs_key, "by hand"))
        assert by_heartbeat or not self.strayed  # an unchanged one looks at nothing but its own tab
        was_damaged = model.damaged or (strayed and not self.strayed)
        claims_before = model.claims
        model.settle()
        model.damaged = False
        if was_damaged:
            self.adopt_names()
            self.adopt_claims(claims_before)
        viewers = by_user(model.viewers())
        has_news = viewers and (saved or model.claims != self.claims_shown)
        if was_damaged:
            assert len(messages) <= 1
            assert all(message["reset"] for message in messages)
            assert messages or viewers == {}
            assert [message["previous"] for message in messages] in ([], [model.version])
        elif viewers == self.shown and not has_news:
            assert messages == []
        else:
            [message] = messages
            assert message["previous"] == model.version
            assert message["version"] != model.version
            assert self.applied(message["changes"]) == viewers
        if viewers and messages:
            assert without_time(messages[0].get("saved"), 4) == saved
            if not was_damaged:
                assert ("claims" in messages[0]) == (model.claims != self.claims_shown)
            if "claims" in messages[0]:
                assert claims_in(messages[0]["claims"]) == model.claims
        if messages:
            model.version = messages[-1]["version"]
        assert all(message["version"] == model.version for message in heard)
        self.shown, self.claims_shown = viewers, dict(model.claims)
        assert (model.version == "0") == (not viewers)
        self.look()
        if self.are_crowds_small and not self.strayed:
            self.service.list_viewers("flow", 12)  # makes the index, for the next step to keep

    def applied(self, changes):
        """What a client makes of `changes`: each user once, and nothing that was so before."""
        shown = dict(self.shown)
        assert len({user for _, user, _ in changes}) == len(changes)
        for kind, user, what in changes:
            assert (user in shown) == (kind != "join")
            if kind == "leave":
                assert what in ("left", "expired")
                del shown[user]
                continue
            after = {
                "id": json.loads(user),
                "name": what[0],
                "tabs": what[2],
                "mode": "edit" if what[3] else "view",
                "has_dirty_tab": what[4] > 0,
                "active_fields": [name for name in what[5::2] if isinstance(name, str)],
            }
            if isinstance(what[-1], list):
                after["dirty_fields"] = what[-1][::2]
            assert shown.get(user) != after
            shown[user] = after
        return shown

    def adopt_names(self):
        """Which of her names a rebuilt seat has is open; it must be one of them."""
        for viewer in self.service.get_unique_viewers("flow", 12):
            own = [
                tab.name for tab in self.model.tabs.values() if user_key(tab.user) == user_key(viewer["id"])
            ]
            assert viewer["name"] in own
            self.model.names[viewer["id"]] = viewer["name"]

    def adopt_claims(self, before):
        """Whether a claim outlives the loss of its tab's lease is open; it must be one that there was."""
        rows = self.redis.hget(RECORD.viewers_key, "#claims")
        self.model.claims = claims_in(json.loads(rows or "[]"))
        assert self.model.claims.items() <= before.items()
        assert {claim.tab_id for claim in self.model.claims.values()} <= set(self.model.tabs)

    def look_at_notes(self, notes):
        """What a list tells besides the viewers."""
        rows = [self.model.saves[lock_version] for lock_version in sorted(self.model.saves)]
        assert [
            [
                str(save["lock_version"]),
                user_key(save["user"]["id"]),
                save["user"]["name"],
                save["tab_id"] or "",
            ]
            + save["fields"]
            for save in notes.saves
        ] == rows
        assert {
            name: (claim["tab_id"], user_key(claim["user"]["id"])) for name, claim in notes.claims.items()
        } == {name: (claim.tab_id, claim.user) for name, claim in self.model.claims.items()}

    def look(self):
        """Right after a script, without asking another one."""
        assert set(self.redis.zrange(RECORD.seen_key, 0, -1)) == set(self.model.tabs)
        assert set(self.redis.hkeys(RECORD.tabs_key)) - {"by hand"} == set(self.model.tabs)
        texts = self.redis.hgetall(RECORD.viewers_key)
        saves, claims = (json.loads(texts.pop(name, "[]")) for name in ("#saves", "#claims"))
        assert [without_time(row, 4) for row in saves] == [
            self.model.saves[lock_version] for lock_version in sorted(self.model.saves)
        ]
        assert claims_in(claims) == self.model.claims
        seats = list(texts)
        assert sorted(seats) == (sorted([*self.shown, "#"]) if self.shown else [])
        for key in RECORD.keys:
            assert self.redis.pttl(key) != -1
            assert self.redis.pttl(key) <= 2 * LEASE_MS + 1_000 + HISTORY_MS
        if not self.model.tabs:
            assert self.redis.keys("*") == []
        else:
            ends = max(tab.lease_end for tab in self.model.tabs.values()) - self.model.now
            for key in (RECORD.tabs_key, RECORD.seen_key, RECORD.viewers_key):
                assert self.redis.pttl(key) > ends - 4_000, key
            if indexed := self.redis.zrange(RECORD.order_key, 0, -1):
                assert set(indexed) == set(self.shown)
                assert self.redis.pttl(RECORD.order_key) > ends - 4_000


def test_every_history_agrees_with_the_model(redis):
    run_state_machine_as_test(lambda: PresenceMachine(redis), settings=PROFILE)


def test_every_history_of_a_crowd_agrees_with_the_model(redis):
    run_state_machine_as_test(lambda: PresenceMachine(redis, small_crowds()), settings=PROFILE)


def test_every_history_agrees_with_the_model_on_a_cluster():
    cluster = RedisCluster()
    try:
        with redis_py.RedisCluster(host="127.0.0.1", port=cluster.ports[0], decode_responses=True) as redis:
            run_state_machine_as_test(lambda: PresenceMachine(redis), settings=CLUSTER_PROFILE)
    finally:
        cluster.close()


CLIENTS, TABS_EACH, BEATS_EACH = 8, 5, 60


def test_many_clients_at_once_leave_exact_counts_and_an_unbroken_chain(redis_server, real_redis):
    failures, kept = [], {}

    def client(number):
        random = Random(number)
        mine = {}
        with redis_server.client() as redis:
            service = RecordPresenceService(redis, 1)
            for _ in range(BEATS_EACH):
                tab_id = f"t{number}-{random.randrange(TABS_EACH)}"
                if random.random() < 0.3:
                    if service.remove_presence("flow", 12, tab_id, number % 4) != (tab_id in mine):
                        failures.append(tab_id)
                    mine.pop(tab_id, None)
                else:
                    mode, dirty = random.choice(["view", "edit"]), random.random() < 0.5
                    active_field = random.choice(FIELDS)
                    service.update_presence(
                        "flow", 12, tab_id, number % 4, "n", mode, dirty, active_field=active_field
                    )
                    mine[tab_id] = (number % 4, mode, dirty, active_field)
                if random.random() < 0.1:
                    service.list_viewers("flow", 12)
        kept.update(mine)

    with Listener(real_redis, RECORD) as listener:
        threads = [Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        messages = listener.messages()

    service = RecordPresenceService(real_redis, 1)
    viewers = {viewer["id"]: viewer for viewer in service.get_unique_viewers("flow", 12)}
    expected = {}
    for user in {tab[0] for tab in kept.values()}:
        tabs = [tab for tab in kept.values() if tab[0] == user]
        expected[user] = {
            "id": user,
            "name": "n",
            "tabs": len(tabs),
            "mode": "edit" if any(tab[1] == "edit" for tab in tabs) else "view",
            "has_dirty_tab": any(tab[2] for tab in tabs),
            "active_fields": sorted({tab[3] for tab in tabs if tab[3]}),
        }
    assert failures == []
    assert viewers == expected
    assert set(service.get_presence("flow", 12)) == set(kept)
    assert assert_chained(messages, "0") == service.list_viewers("flow", 12).version
    assert len({message["version"] for message in messages} - {"0"}) == sum(
        message["version"] != "0" for message in messages
    )
