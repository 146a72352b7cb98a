"""A host's route that saves: what a page is answered when somebody else is on the fields."""

import pytest
from flask import Flask, request
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from record_presence import init_app
from record_presence.api.responses import success
from record_presence.identity.caller import Caller
from record_presence.redis_client.client import connect
from record_presence.testing import FakeService
from record_presence.versioned import Versioned, announce, answer_refusals, save_version, writer_of
from tests.api.client import SETTINGS, data_of, failure_of

BOB = Caller("bob", "Bob", "1")


class Base(DeclarativeBase):
    pass


class Order(Versioned, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")


@pytest.fixture
def app(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/orders.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Order(id=7))
    app = Flask("shop")
    init_app(app, SETTINGS, redis=connect("redis://127.0.0.1:1"), identity_loader=lambda request: BOB)
    answer_refusals(app)

    @app.put("/orders/7")
    def save_order():
        body = dict(request.json)
        policies, tab_id = body.pop("policies", {}), body.pop("tab_id", None)
        writer = writer_of(BOB, "order", 7, tab_id=tab_id)
        with Session(engine) as session:
            row = session.get_one(Order, 7)
            saved = save_version(
                session, row, body.pop("lock_version"), body, by="Bob", writer=writer, **policies
            )
        announce(BOB, "order", 7, saved, tab_id=tab_id)
        check = saved.check
        hits = [*check.contested, *check.claimed] if check else check
        return success({"lock_version": saved.lock_version, "hits": hits})

    yield app
    engine.dispose()


@pytest.fixture
def presence(app):
    with FakeService(app) as presence:
        yield presence


@pytest.fixture
def save(app):
    def save(lock_version=1, **body):
        return app.test_client().put("/orders/7", json={"lock_version": lock_version, **body})

    return save


def test_claimed_field_is_423_with_the_claim_and_with_what_is_clear(app, presence, save):
    alice = presence.join("order:7", "Alice")
    alice.edit("note")
    alice.claim("note")
    answer = save(title="Sale", note="mine", policies={"claims": "refuse", "contested": "refuse"})
    data = answer.json["data"]

    assert failure_of(answer, 423, has_data=True)["message"] == "Alice has claimed note."
    assert data["claim"] == {"field": "note", **data["claimed"]["note"]}
    assert data["claim"]["user"]["name"] == "Alice"
    assert (data["fields"], data["clear"], data["lock_version"]) == (["note"], ["title"], 1)
    assert [viewer["name"] for viewer in data["contested"]["note"]] == ["Alice"]
    # Nothing of it was written, and what is clear can be saved at once.
    assert data_of(save(title="Sale", policies={"claims": "refuse"})) == {"lock_version": 2, "hits": []}


def test_contested_field_is_409_with_who_has_it_unsaved(presence, save):
    presence.join("order:7", "Alice").edit("note")
    answer = save(title="Sale", note="mine", policies={"contested": "refuse"})

    assert failure_of(answer, 409, has_data=True)["message"] == "Alice has unsaved changes in note."
    assert "current" not in answer.json["data"]
    assert answer.json["data"]["fields"] == ["note"]
    assert data_of(save(note="mine", policies={"claims": "refuse"})) == {"lock_version": 2, "hits": ["note"]}


def test_own_tab_refuses_no_save_and_what_does_not_change_is_not_asked_for(presence, save):
    alice, bob = presence.join("order:7", "Alice"), presence.join("order:7", "Bob")
    alice.edit("title")
    bob.edit("note")
    bob.claim("note")
    refuse = {"policies": {"claims": "refuse", "contested": "refuse"}}

    assert data_of(save(tab_id=bob.tab_id, title="", note="mine", **refuse)) == {
        "lock_version": 2,
        "hits": [],
    }
    assert "another user" in failure_of(save(2, tab_id=alice.tab_id, note="x", **refuse), 409)["message"]


@pytest.mark.parametrize("policy", ["claims", "contested"])
def test_without_redis_nothing_is_written_unknowingly_unless_it_is_advice(save, policy):
    answer = save(note="mine", policies={policy: "refuse"})

    assert failure_of(answer, 503)
    assert answer.headers["Retry-After"]
    assert data_of(save(note="mine")) == {"lock_version": 2, "hits": None}


def test_newer_version_is_what_a_page_learns_first(presence, save):
    presence.join("order:7", "Alice").edit("note")
    save(note="first")
    answer = save(note="second", policies={"contested": "refuse"})

    assert "in the meantime" in failure_of(answer, 409, has_data=True)["message"]
    assert answer.json["data"]["current"]["note"] == "first"


def test_policy_that_could_not_be_kept_is_a_mistake_of_the_host():
    with pytest.raises(ValueError, match="needs a writer"):
        save_version(None, None, 1, {}, by="Bob", claims="refuse")
    with pytest.raises(ValueError, match="contested must be one of refuse, advise"):
        save_version(None, None, 1, {}, by="Bob", contested="ignore")
