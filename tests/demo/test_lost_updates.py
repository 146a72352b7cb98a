"""No update is lost through the API, however people load and save in turn or at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from random import Random

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from record_presence import create_app
from tests.api.client import SETTINGS, data_of
from tests.demo.test_api import bearer
from tests.demo.visitor import API, values_of
from tests.presence.histories import histories

CLIENTS = 4
SAVES = 10  # of each thread


class Editor:
    """A page with a flow in it: loads, writes a word of its own at the end, saves."""

    def __init__(self, app, number, words):
        self._client = app.test_client()
        self._headers = bearer(number, f"Editor {number}")
        self._words = words
        self.flow = None

    def load(self):
        self.flow = data_of(self._client.get(f"{API}/1", headers=self._headers))["flow"]

    def save(self):
        """The word that was saved, the version before and the one that was made; None when refused."""
        word, based_on = f"[{next(self._words)}]", self.flow["lock_version"]
        sent = values_of(self.flow, description=self.flow["description"] + word)
        answer = self._client.put(f"{API}/1", json=sent, headers=self._headers)
        if answer.status_code == 409:
            self.flow = answer.json["data"]["current"]
            return None
        self.flow = data_of(answer)["flow"]
        assert self.flow["description"] == sent["description"]
        return word, based_on, self.flow["lock_version"]

    def empty(self):
        """Save a flow without a description, of which every history makes its own."""
        sent = values_of(self.flow, description="")
        self.flow = data_of(self._client.put(f"{API}/1", json=sent, headers=self._headers))["flow"]


@pytest.fixture(scope="module")
def kept_app(tmp_path_factory):
    """For many histories one after the other."""
    url = f"sqlite:///{tmp_path_factory.mktemp('flows')}/flows.sqlite3"
    redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    return create_app(replace(SETTINGS, database_url=url), redis=redis)


@histories(40, 1, long=2_000)
@given(turns=st.lists(st.tuples(st.integers(0, CLIENTS - 1), st.sampled_from(["load", "save"])), max_size=40))
def test_final_text_is_what_the_accepted_saves_say_in_turn(kept_app, turns):
    words = count()
    editors = [Editor(kept_app, number, words) for number in range(1, CLIENTS + 1)]
    editors[0].load()
    editors[0].empty()
    for editor in editors:
        editor.load()
    accepted, newest = [], editors[0].flow["lock_version"]
    for number, turn in turns:
        editor = editors[number]
        if turn == "load":
            editor.load()
            continue
        was_newest = editor.flow["lock_version"] == newest
        saved = editor.save()
        assert (saved is not None) == was_newest
        if saved:
            word, based_on, version = saved
            assert (based_on, version) == (newest, newest + 1)
            newest = version
            accepted.append(word)
    editors[0].load()

    assert editors[0].flow["description"] == "".join(accepted)
    assert editors[0].flow["lock_version"] == newest


def test_final_text_is_what_the_accepted_saves_say_at_once(app):
    words = count()
    editors = [Editor(app, number, words) for number in range(1, CLIENTS + 1)]
    editors[0].load()
    editors[0].empty()

    def work(editor):
        random, done = Random(editor._headers["Authorization"]), []
        editor.load()
        while len(done) < SAVES:
            # Some go on from what the refusal told them, some look for themselves.
            if random.random() < 0.3:
                editor.load()
            if saved := editor.save():
                done.append(saved)
        return done

    with ThreadPoolExecutor(CLIENTS) as pool:
        accepted = sorted(
            (saved for done in pool.map(work, editors) for saved in done), key=lambda saved: saved[2]
        )
    editors[0].load()

    assert editors[0].flow["description"] == "".join(word for word, _, _ in accepted)
    assert [version for _, _, version in accepted] == list(range(3, CLIENTS * SAVES + 3))
    assert all(version == based_on + 1 for _, based_on, version in accepted)
