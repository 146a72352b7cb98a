"""Two people want the same field: told before, asked when they save, replayed afterwards.

Heartbeats are a minute apart here: what is seen was pushed, or asked for when it was needed.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from record_presence.demo.flows import Flow
from record_presence.demo.people import TENANT
from record_presence.presence.service import RecordPresenceService
from record_presence.versioned import SaveCheck, SaveResult, Writer, check_before_save, save_version
from tests.e2e.axe import violations
from tests.e2e.people import EDITORS, Page, plain
from tests.e2e.server import Server
from tests.redis_server import RedisServer
from tests.waiting import becomes, stays, wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    redis = RedisServer()
    yield redis
    redis.close()


@pytest.fixture(scope="module")
def own_server(own_redis: RedisServer) -> Iterator[Server]:
    server = Server(
        own_redis,
        PRESENCE_HEARTBEAT_SECONDS="60",
        PRESENCE_TTL_SECONDS="180",
        PRESENCE_CLAIM_IDLE_SECONDS="6",  # to be seen while it is counted down
    )
    yield server
    server.close()


_numbers = itertools.count()


@pytest.fixture
def flow_id(own_server: Server) -> int:
    """A flow where nobody is, with texts of its own."""
    number = next(_numbers)
    flow_id = number % 6 + 1
    with own_server.as_user(4, "Dmitri Volkov", role="operator") as dmitri:
        dmitri.evict_all(flow_id)
        dmitri.save(flow_id, name=f"Flow {number}", description=f"About {number}", steps=f"Step {number}")
    return flow_id


@pytest.fixture
def edit(person: Callable[..., Any], own_server: Server, flow_id: int) -> Callable[..., "Editor"]:
    """`edit("bob")` is the flow in a tab of Bob's; a second one is of the same browser."""
    people: dict[str, Any] = {}

    def open_tab(handle: str, editor: str = "alpine", **options: Any) -> Editor:
        if handle not in people:
            people[handle] = person(handle, at=own_server, **options)
        page = people[handle].edit(flow_id, editor=editor)
        page.tab.locator(".claim-button").first.wait_for()  # it knows of saves and claims
        return Editor(page.tab)

    return open_tab


class Editor(Page):
    """The editor, and what it says about the others' saves."""

    def change(self, field: str, text: str) -> None:
        self.tab.fill(f"#{field}", text)

    def save(self) -> None:
        self.press("Save")

    def press(self, name: str) -> None:
        self.tab.get_by_role("button", name=name, exact=True).click()

    def value(self, field: str) -> str:
        return self.tab.input_value(f"#{field}")

    def conflict(self) -> str:
        """The banner's text; "" without one."""
        return " ".join(self.tab.locator("#conflict").inner_text().split())

    def note(self, field: str) -> str:
        return " ".join(self.tab.locator(f"#{field}-notes").inner_text().split())

    def news(self) -> str:
        return self.tab.locator(".news").inner_text().strip()

    def let_time_pass_by_command(self) -> None:
        """Load the page anew, with a clock that `pass_time` can set on."""
        self.tab.clock.install()
        self.tab.reload()
        self.tab.locator(".claim-button").first.wait_for()

    def pass_time(self, minutes: int) -> None:
        """In this page, and nowhere else; nothing is done in it meanwhile."""
        self.tab.clock.fast_forward(minutes * 60_000)

    def remember_news(self) -> None:
        """From now on, for `news_so_far`: what is on the screen for a moment only."""
        self.tab.evaluate(
            """() => {
                const news = document.querySelector('.news');
                const note = () => { window.newsSoFar += '\\n' + news.innerText; };
                window.newsSoFar = '';
                const all = { subtree: true, childList: true, characterData: true };
                new MutationObserver(note).observe(news, all);
            }"""
        )

    def news_so_far(self) -> str:
        return self.tab.evaluate("window.newsSoFar")

    def claim(self, field: str) -> Any:
        return self.tab.locator(f".field:has(#{field}) .claim-button")

    def open_beside(self, path: str) -> Any:
        """Another page of this record, in a tab of the same window."""
        url, _, query = self.tab.url.partition("?")
        tab = self.tab.context.new_page()
        tab.goto(f"{url.replace('/react', '')}{path}?{query}")
        return tab

    def wait_for_saved(self) -> int:
        """Until nothing is unsaved; the version."""
        text = wait_until(self.save_state, lambda text: text.startswith("Saved, version "))
        return int(text.removeprefix("Saved, version "))


def says(look: Callable[[], str], *parts: str) -> str:
    return wait_until(look, lambda text: all(part in plain(text) for part in parts))


@both_editors
def test_collision_is_told_before_saving_and_mine_can_be_kept(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("name", "Alice's name")
    alice.change("steps", "Alice's steps")
    alice.change("description", "Alice's words")
    bob.change("name", "Bob's name")
    says(partial(alice.note, "name"), "Bob Tanaka also has unsaved changes here.")

    bob.change("steps", "Bob's steps")
    bob.save()
    version = bob.wait_for_saved()
    says(
        alice.conflict,
        f"Bob Tanaka saved version {version} at",
        "2 of your 3 unsaved fields changed: Name and Steps.",
    )
    says(partial(alice.note, "name"), f"Bob Tanaka saved, in version {version}:", "Bob's name")
    becomes(partial(alice.note, "description"), "")
    becomes(partial(alice.value, "name"), "Alice's name")

    alice.press("Keep mine")
    becomes(alice.conflict, "")
    says(alice.news, "Your Name and Steps stay.")
    alice.save()
    assert alice.wait_for_saved() == version + 1
    wait_until(partial(bob.value, "name"), lambda text: text == "Alice's name")
    says(bob.news, f"Alice Moreau saved version {version + 1}", "You see it now.")
    becomes(partial(bob.value, "description"), "Alice's words")


@pytest.mark.parametrize("editor", ["alpine"])
def test_theirs_can_be_taken_and_given_back(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("name", "Alice's name")
    alice.change("description", "Alice's words")
    bob.change("name", "Bob's other name")
    bob.save()
    says(alice.conflict, "1 of your 2 unsaved fields changed: Name.")

    alice.press("Take theirs")
    becomes(lambda: (alice.value("name"), alice.value("description")), ("Bob's other name", "Alice's words"))
    becomes(alice.save_state, "Unsaved: 1 field")
    alice.press("Undo")
    becomes(partial(alice.value, "name"), "Alice's name")
    becomes(alice.save_state, "Unsaved: 2 fields")
    becomes(alice.conflict, "")


@both_editors
def test_what_collides_is_compared_field_by_field_with_the_keyboard(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("name", "One of Alice")
    alice.change("steps", "Steps of Alice")
    bob.change("name", "One of Bob")
    bob.change("steps", "Steps of Bob")
    bob.save()
    says(alice.conflict, "2 of your 2 unsaved fields")

    keys = alice.tab.keyboard
    alice.tab.get_by_role("button", name="Compare field by field").focus()
    keys.press("Enter")
    dialog = alice.tab.get_by_role("dialog", name="Compare field by field")
    dialog.wait_for()
    becomes(dialog.locator("mark").all_text_contents, ["Alice", "Bob", "Alice", "Bob"])
    assert violations(alice) == []

    keys.press("Escape")
    dialog.wait_for(state="detached")
    becomes(partial(alice.tab.evaluate, "document.activeElement.textContent"), "Compare field by field")
    says(alice.conflict, "2 of your 2 unsaved fields")

    keys.press("Enter")
    focused = dialog.locator("input:focus")
    focused.wait_for()
    keys.press("ArrowRight")  # the name of Bob
    wait_until(lambda: (focused.input_value(), focused.is_checked()), lambda seen: seen == ("theirs", True))
    keys.press("Tab")  # the steps stay Alice's
    legend = "radio => radio.closest('fieldset').querySelector('legend').textContent"
    wait_until(lambda: focused.evaluate(legend), lambda name: name == "Steps")
    keys.press("Enter")
    dialog.wait_for(state="detached")
    wait_until(partial(alice.value, "name"), lambda text: text == "One of Bob")
    becomes(partial(alice.value, "steps"), "Steps of Alice")
    becomes(alice.save_state, "Unsaved: 1 field")
    alice.save()
    alice.wait_for_saved()
    wait_until(partial(bob.value, "steps"), lambda text: text == "Steps of Alice")


def test_both_change_the_same_texts_and_every_word_is_in_the_record(edit, flow_id, own_server):
    with own_server.as_user(4, "Dmitri Volkov") as dmitri:
        dmitri.save(flow_id, description="One line\nAnother line\nA last line", steps="First\nSecond")
    alice, bob = edit("alice"), edit("bob", "react")
    alice.change("description", "One line, alice1\nAnother line\nA last line")
    alice.change("steps", "First\nSecond\nalice2")
    alice.change("name", "alice3")
    bob.change("description", "One line\nAnother line\nA last line, bob1")
    bob.change("steps", "First, bob2\nSecond\nbob3")
    bob.change("name", "bob4")
    bob.save()
    version = bob.wait_for_saved()
    says(alice.conflict, "2 of your 3 unsaved fields changed: Name and Steps.")

    alice.press("Compare field by field")
    dialog = alice.tab.get_by_role("dialog")
    dialog.get_by_role("radio", name="Both, yours first").last.check()
    becomes(dialog.locator("summary").inner_text, "Nothing to decide in 1 field")
    bob.change("name", "bob4 bob5")  # a third save, while she chooses
    bob.save()
    bob.wait_for_saved()
    says(
        dialog.locator("[role=status]").inner_text,
        f"Bob Tanaka saved versions {version} to {version + 1} just now.",
    )
    becomes(dialog.locator("legend").all_inner_texts, ["Name new", "Steps"])
    assert violations(alice) == []
    alice.press("Use these")  # the name is still to be chosen
    wait_until(dialog.get_by_role("radio", name="Both, yours first").last.is_checked)
    dialog.get_by_role("radio", name="Both, yours first").first.check()
    alice.press("Use these")
    dialog.wait_for(state="detached")

    alice.save()
    alice.wait_for_saved()
    wait_until(partial(bob.value, "name"), lambda text: text == "alice3 bob4 bob5")
    becomes(partial(bob.value, "steps"), "First, bob2\nSecond\nalice2\nbob3")
    becomes(partial(bob.value, "description"), "One line, alice1\nAnother line\nA last line, bob1")


@both_editors
def test_texts_that_do_not_overlap_are_put_together_and_can_be_given_back(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    before = alice.value("description")
    alice.change("description", f"Alice: {before}")
    bob.change("description", f"{before}, says Bob")
    bob.save()
    says(alice.news, "What both of you changed in Description is put together.")
    becomes(partial(alice.value, "description"), f"Alice: {before}, says Bob")
    becomes(alice.conflict, "")
    alice.press("Undo")
    becomes(partial(alice.value, "description"), f"Alice: {before}")
    becomes(alice.save_state, "Unsaved: 1 field")


@both_editors
def test_refused_save_asks_the_same(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.tab.context.set_offline(True)  # no news reaches her
    alice.change("name", "Alice did not know")
    bob.change("name", "Bob was first")
    bob.save()
    version = bob.wait_for_saved()
    # Only the save gets through.
    alice.tab.route("**/api/v1/presence/**", lambda route: route.abort())
    alice.tab.context.set_offline(False)
    alice.save()

    says(alice.conflict, f"Not saved: Bob Tanaka saved version {version} first")
    wait_until(lambda: alice.tab.evaluate("!!document.activeElement.closest('#conflict')"))
    becomes(partial(bob.value, "name"), "Bob was first")
    alice.press("Keep mine")
    alice.save()
    assert alice.wait_for_saved() == version + 1


@pytest.mark.parametrize("editor", ["react"])
def test_save_that_redis_had_no_room_to_hear_of_is_told_when_it_has(edit, own_redis, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("name", "Alice does not know")
    with own_redis.client() as redis:
        redis.config_set("maxmemory", 1)
        bob.change("name", "Bob saved meanwhile")
        bob.save()
        version = bob.wait_for_saved()
        bob.tab.close()  # he tells nobody any more
        becomes(alice.conflict, "")
        redis.config_set("maxmemory", 0)

    says(alice.conflict, f"Bob Tanaka saved version {version}")
    says(partial(alice.note, "name"), "Bob saved meanwhile")


@both_editors
def test_save_during_a_slow_look_at_the_one_before_is_told_too(edit, flow_id, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("name", "Alice's name")
    held, answers = [], []

    def read_slowly(route):
        if route.request.method != "GET" or held:
            route.continue_()
        else:
            held.append((route, route.fetch()))  # what stands there now, told later

    alice.tab.route(f"**/api/v1/flows/{flow_id}", read_slowly)
    alice.tab.on("response", lambda response: answers.append(response))
    bob.change("name", "Bob's first")
    bob.save()
    first = bob.wait_for_saved()
    wait_until(lambda: alice.tab.evaluate("true") and held)
    bob.change("name", "Bob's second")
    bob.save()
    wait_until(bob.wait_for_saved, lambda version: version == first + 1)
    wait_until(lambda: alice.tab.evaluate("true") and any(foretells(answer, first + 1) for answer in answers))

    [(route, response)] = held
    route.fulfill(response=response)
    says(alice.conflict, f"Bob Tanaka saved versions {first} to {first + 1}")
    says(partial(alice.note, "name"), "Bob's second")


def foretells(answer, version):
    is_beat = "/heartbeat?" in answer.url and answer.ok
    return is_beat and any(
        save["lock_version"] == version for save in answer.json()["data"].get("forecast", {}).get("saves", [])
    )


@pytest.mark.parametrize("editor", ["react"])
def test_save_that_collides_with_nothing_is_made_on_top_of_the_other(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.tab.route("**/api/v1/presence/**", lambda route: route.abort())
    alice.tab.context.set_offline(True)
    alice.change("description", "Alice's part")
    bob.change("name", "Bob's part")
    bob.save()
    version = bob.wait_for_saved()
    alice.tab.context.set_offline(False)
    alice.save()

    assert wait_until(alice.wait_for_saved, lambda saved: saved == version + 1)
    becomes(lambda: (alice.value("name"), alice.value("description")), ("Bob's part", "Alice's part"))
    says(alice.news, f"Bob Tanaka saved version {version} (Name).")


@both_editors
def test_who_has_nothing_unsaved_sees_the_new_version_at_once_and_others_keep_what_is_theirs(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.change("description", "Only Alice's")
    alice.tab.focus("#description")
    bob.change("name", "A name that nobody minds")
    bob.save()

    wait_until(partial(alice.value, "name"), lambda text: text == "A name that nobody minds")
    becomes(alice.tab.locator("h1").inner_text, "A name that nobody minds")
    says(alice.news, "Bob Tanaka saved version", "(Name)", "Your unsaved changes are kept.")
    becomes(partial(alice.value, "description"), "Only Alice's")
    becomes(partial(alice.tab.evaluate, "document.activeElement.id"), "description")
    becomes(alice.save_state, "Unsaved: 1 field")
    becomes(alice.conflict, "")


@pytest.mark.parametrize("editor", ["alpine"])
def test_own_save_is_no_strangers(edit, editor):
    bob, other = edit("bob", editor), edit("bob", editor)
    other.change("name", "Bob's draft")
    bob.change("name", "Bob has two tabs")
    bob.save()
    version = bob.wait_for_saved()
    says(other.conflict, f"You saved version {version} in another tab at", "Take the other tab’s")
    says(partial(other.note, "name"), f"You saved, in version {version}, in another tab:")
    stays(lambda: bob.conflict() + bob.news(), lambda text: text == "", seconds=0.5)


@both_editors
def test_claim_is_shown_taken_over_and_told_to_both_and_blocks_nothing(edit, editor):
    alice, bob = edit("alice", editor), edit("bob")
    alice.claim("name").click()
    wait_until(lambda: alice.claim("name").get_attribute("aria-pressed") == "true")
    claim = bob.tab.locator(".field:has(#name) .claim")
    says(claim.inner_text, "Alice Moreau is on it", "Ask for it")

    bob.change("name", "Claimed or not")
    bob.save()
    bob.wait_for_saved()

    bob.claim("name").click()
    bob.press("Take it over now")
    says(alice.news, "Bob Tanaka took over Name from you.")
    says(alice.tab.locator(".field:has(#name) .claim").inner_text, "Bob Tanaka is on it")
    wait_until(lambda: bob.claim("name").get_attribute("aria-pressed") == "true")

    alice.press("Take it back")
    says(bob.news, "Alice Moreau took over Name from you.")
    alice.claim("name").click()
    wait_until(claim.inner_text, lambda text: "on it" in text and "Alice" not in text)


@both_editors
def test_field_that_is_asked_for_is_handed_over_with_nothing_lost(edit, editor):
    alice, bob = edit("alice", editor), edit("bob", editor)
    alice.claim("name").click()
    says(bob.tab.locator(".field:has(#name) .claim").inner_text, "Alice Moreau is on it")
    alice.change("name", "Of Alice")
    alice.change("steps", "Steps of Alice")
    bob.change("description", "Of Bob")

    bob.claim("name").click()
    says(bob.news, "You asked Alice Moreau for Name. You are next.")
    says(alice.news, "Bob Tanaka asks for Name.")
    says(alice.tab.locator(".field:has(#name) .claim").inner_text, "Bob Tanaka asks for it")
    for person in (alice, bob):
        person.tab.set_viewport_size({"width": 320, "height": 800})
        assert violations(person) == []
    alice.press("Not yet")
    says(bob.news, "Alice Moreau is not done with Name yet.")
    wait_until(alice.news, lambda text: "asks for" not in text)

    bob.press("Ask again")
    alice.press("Save and hand over")
    says(bob.news, "Name is yours now. Alice Moreau had it before.")
    says(alice.news, "Bob Tanaka has Name now.")
    wait_until(lambda: bob.claim("name").get_attribute("aria-pressed") == "true")
    wait_until(lambda: bob.value("name"), lambda name: name == "Of Alice")
    becomes(lambda: (bob.value("description"), bob.value("steps")), ("Of Bob", "Steps of Alice"))

    alice.change("name", "Alice again")
    alice.press("Ask for it back")
    says(bob.news, "Alice Moreau asks for Name.")
    bob.press("Hand over")
    says(alice.news, "Name is yours now.")
    becomes(lambda: (alice.value("name"), bob.value("description")), ("Alice again", "Of Bob"))
    bob.save()
    bob.wait_for_saved()
    says(alice.news, "Your unsaved changes are kept.")
    becomes(lambda: (alice.value("name"), alice.value("description")), ("Alice again", "Of Bob"))


def test_field_of_who_looks_away_passes_on_and_who_comes_back_reads_it(edit):
    alice, bob = edit("alice"), edit("bob")
    alice.claim("name").click()
    alice.change("name", "Of Alice")
    says(bob.tab.locator(".field:has(#name) .claim").inner_text, "Alice Moreau is on it")
    bob.claim("name").click()
    says(alice.news, "Bob Tanaka asks for Name.")

    look = """(state) => {
        Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    alice.tab.evaluate(look, "hidden")
    says(bob.news, "Name is yours now. Alice Moreau had it before.")
    alice.tab.evaluate(look, "visible")
    says(
        alice.news, "Bob Tanaka has Name now. What you wrote there is still here, unsaved.", "Ask for it back"
    )
    becomes(partial(alice.value, "name"), "Of Alice")


@pytest.fixture
def job(own_redis: RedisServer, own_server: Server, flow_id: int) -> Iterator["Job"]:
    engine = create_engine(own_server.database_url)
    with own_redis.client() as redis:
        presence = RecordPresenceService(redis, TENANT, ttl_seconds=180, timeline_seconds=600)
        yield Job(engine, Writer(presence, "flow", flow_id, "nightly-job", "Nightly job"))
    engine.dispose()


@dataclass
class Job:
    """Pauses a flow, and leaves a word in its name and its steps, unless somebody is on them."""

    engine: Engine
    writer: Writer

    def look(self) -> SaveCheck:
        with Session(self.engine) as db:
            return self._check(db.get_one(Flow, self.writer.record_id))

    def run(self) -> tuple[SaveResult, dict[str, list[str]]]:
        """What was told of the save, and who is on the fields that are left."""
        with Session(self.engine) as db:
            flow = db.get_one(Flow, self.writer.record_id)
            check, options = self._check(flow), {"by": self.writer.user_name, "writer": self.writer}
            policies = {"claims": "refuse", "contested": "refuse"}
            saved = save_version(db, flow, flow.lock_version, check.clear, **options, **policies)
        return self.writer.announce(saved), {name: held.names for name, held in check.held.items()}

    def _check(self, flow: Flow) -> SaveCheck:
        values = {"status": "paused", "name": f"{flow.name} job1", "steps": f"{flow.steps}\njob2"}
        return check_before_save(self.writer, values, base_version=flow.lock_version)


def test_two_people_and_a_job_want_the_same_fields_and_no_word_is_lost(edit, flow_id, own_server, job):
    with own_server.as_user(4, "Dmitri Volkov") as dmitri:
        texts = {"description": "One line\nAnother line\nA last line", "steps": "First\nSecond"}
        dmitri.save(flow_id, name="Launch", status="active", **texts)
    alice, bob = edit("alice"), edit("bob", "react")
    alice.let_time_pass_by_command()

    # Bob asks for what Alice has.
    alice.claim("name").click()
    alice.change("name", "Launch alice1")
    alice.change("description", "One line, alice2\nAnother line\nA last line")
    bob.change("description", "One line\nAnother line\nA last line, bob1")
    says(bob.tab.locator(".field:has(#name) .claim").inner_text, "Alice Moreau is on it")
    bob.claim("name").click()
    says(bob.news, "You asked Alice Moreau for Name. You are next.")
    says(alice.news, "Bob Tanaka asks for Name.")

    # She is away from her desk, while both screens count down.
    alice.remember_news()
    bob.remember_news()
    alice.pass_time(minutes=6)
    says(bob.news, "Name is yours now. Alice Moreau had it before.")
    assert "Alice Moreau is away. It passes on in 0:0" in plain(bob.news_so_far())
    says(alice.news_so_far, "You seem to be away. It passes on in 0:0")
    bob.change("name", "Launch bob2")
    bob.change("steps", "First\nSecond\nbob3")

    # She is back, and reads who has it now, and that nothing of hers is gone.
    alice.tab.mouse.move(10, 10)
    says(
        alice.news, "Bob Tanaka has Name now. What you wrote there is still here, unsaved.", "Ask for it back"
    )
    assert (alice.value("name"), "alice2" in alice.value("description")) == ("Launch alice1", True)
    says(alice.tab.locator(".field:has(#name) .claim").inner_text, "Bob Tanaka is on it")

    # The job writes what nobody is on.
    wait_until(lambda: sorted(job.look().held), lambda held: held == ["name", "steps"])
    announced, left = job.run()
    assert (bool(announced), announced.touched) == (True, {})
    assert left == {"name": ["Bob Tanaka", "Alice Moreau"], "steps": ["Bob Tanaka"]}
    for editor in (alice, bob):
        says(editor.news, "Nightly job saved version", "(Status)", "Your unsaved changes are kept.")

    # Bob saves, and Alice puts both together.
    bob.save()
    bob.wait_for_saved()
    says(alice.conflict, "1 of your 2 unsaved fields changed: Name.")
    alice.press("Compare field by field")
    dialog = alice.tab.get_by_role("dialog")
    dialog.get_by_role("radio", name="Both, yours first").check()
    alice.press("Use these")
    dialog.wait_for(state="detached")
    alice.press("Ask for it back")
    says(bob.news, "Alice Moreau asks for Name.")
    bob.press("Hand over")
    wait_until(lambda: alice.claim("name").get_attribute("aria-pressed") == "true")
    alice.save()
    alice.wait_for_saved()
    alice.claim("name").click()

    # With everybody done, the job has its turn.
    wait_until(lambda: job.look().held, lambda held: held == {})
    assert job.run()[1] == {}
    typed = {"name": {"alice1", "bob2", "job1"}, "description": {"alice2", "bob1"}, "steps": {"bob3", "job2"}}
    with Session(job.engine) as db:
        stored = db.get_one(Flow, flow_id).as_data()
    assert {field: words - set(re.findall(r"\w+", stored[field])) for field, words in typed.items()} == {
        field: set() for field in typed
    }
    assert stored["status"] == "paused"
    for editor in (alice, bob):
        for field in typed:
            wait_until(partial(editor.value, field), lambda text, field=field: text == stored[field])


@pytest.fixture
def quarrel(edit) -> tuple["Editor", "Editor"]:
    """Alice has unsaved changes in the name, and Bob has saved another one."""
    alice, bob = edit("alice"), edit("bob")
    alice.change("name", "Of Alice")
    says(partial(in_panel, bob), "Alice Moreau: Unsaved changes in name")
    bob.change("name", "Of Bob")
    bob.save()
    says(alice.conflict, "Your changes are still here.")
    return alice, bob


def in_panel(page: Page) -> str:
    return "; ".join(page.panel())


@pytest.mark.measured  # a browser gives a page that is closed half a second for its goodbye
def test_replay_shows_the_conflict_and_exports_it(quarrel, edit):
    alice, bob = quarrel
    version = bob.wait_for_saved()
    bob.tab.get_by_role("link", name="Replay what happened").click()
    page = bob.tab
    page.get_by_role("button", name="Next conflict").click()
    becomes(page.locator(".log-row.is-current .pill").inner_text, "Conflict")
    page.locator(".log-row.is-conflict button").last.click()  # earlier ones are of other tests
    what = f"Bob Tanaka saves version {version}: Name, while Alice Moreau had unsaved changes in Name."
    becomes(lambda: plain(page.locator("#moment-what").inner_text()), what)
    says(page.locator(".moment-person:has-text('Alice Moreau')").inner_text, "unsaved changes in Name")
    wait_until(page.locator(".lane .mark-conflict").count)
    assert violations(Page(page)) == []

    scrubber = page.get_by_role("slider", name="Moment")
    scrubber.focus()
    page.keyboard.press("Home")
    wait_until(page.get_by_role("button", name="Back to what happened before").is_disabled)
    page.keyboard.press("ArrowRight")
    says(lambda: scrubber.get_attribute("aria-valuetext") or "", ": ")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Pause").click()

    with page.expect_download() as download:
        page.get_by_role("button", name="Export as JSON").click()
    told = json.loads(download.value.path().read_text("utf-8"))
    saves = [entry for entry in told["entries"] if entry["kind"] == "saved"]
    assert (saves[-1]["lock_version"], saves[-1]["fields"]) == (version, ["name"])
    assert download.value.suggested_filename == f"{told['record'].replace(':', '-')}-timeline.json"

    alice.tab.close()  # it goes on while one looks
    says(page.locator("#log").inner_text, "Alice Moreau leaves, with unsaved changes")


def test_long_timeline_comes_in_pages(own_server, person, flow_id):
    with own_server.as_user(77, "Busy") as busy:
        for number in range(115):
            busy.beat(flow_id, "busy", mode="edit", active_field=f"field {number}")
    page = person("alice", at=own_server).go(f"/flows/{flow_id}/timeline").tab
    page.locator(".log-row").first.wait_for()
    last = page.locator("#pager-text").inner_text()
    page.get_by_role("button", name="Earlier").click()
    wait_until(page.locator("#pager-text").inner_text, lambda text: text != last)
    becomes(page.locator(".log-row").count, 100)
    page.get_by_role("button", name="Later").click()
    says(page.locator("#moment-people").inner_text, "Busy", "editing")


def test_operator_sees_why_somebody_is_shown_and_evicts_her(edit, person, own_server, flow_id):
    alice, bob = edit("alice"), edit("bob")
    bob.change("name", "Not saved")
    alice.wait_to_see("Bob Tanaka")
    alice.tab.get_by_role("link", name="Why are they shown?").click()
    page = alice.tab
    tab = page.locator(".why-tab:has-text('Bob Tanaka')")
    says(
        tab.inner_text,
        "Editing",
        "unsaved changes in name",
        "last heartbeat",
        "s left",
        "its lease is running",
    )
    before = tab.locator("progress").evaluate("bar => bar.value")
    wait_until(lambda: tab.locator("progress").evaluate("bar => bar.value") < before)
    assert violations(Page(page)) == []

    chiara = edit("chiara")
    chiara.wait_to_see("Bob Tanaka")
    page.get_by_role("button", name="Evict Bob Tanaka").click()
    says(page.locator("#said").inner_text, "Bob Tanaka was evicted")
    wait_until(tab.count, lambda count: count == 0)
    chiara.wait_to_miss("Bob Tanaka")
    timeline = chiara.open_beside("/timeline")
    says(timeline.locator("#log").inner_text, "Bob Tanaka is evicted by an operator, with unsaved changes")


@pytest.mark.parametrize(("editor", "scheme"), [("alpine", "light"), ("react", "dark")])
def test_conflict_on_screen_has_no_barrier(edit, editor, scheme):
    alice, bob = edit("alice", editor, color_scheme=scheme), edit("bob")
    alice.change("name", "Of Alice")
    alice.change("steps", "Of Alice")
    bob.claim("owner").click()
    bob.change("steps", "Of Bob")
    says(partial(alice.note, "steps"), "also has unsaved changes here")
    assert violations(alice) == []
    bob.change("name", "Of Bob")
    bob.save()
    says(alice.conflict, "2 of your 2 unsaved fields changed")
    assert violations(alice) == []
