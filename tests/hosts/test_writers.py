"""The recipes for programs that write, beside people who have the record open."""

import csv
import runpy
import sys
import threading
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.serving import make_server

from record_presence import create_app
from record_presence.presence.service import RecordPresenceService
from record_presence.safe_writes import connection
from record_presence.versioned import Versioned, save_version
from tests.api.client import SETTINGS, token
from tests.hosts.hosts import ADDRESS, RECIPES, WRITERS

JOB, IMPORT, AGENT = WRITERS


class Base(DeclarativeBase):
    pass


class Order(Versioned, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(default="delivered")
    title: Mapped[str] = mapped_column(default="Sale")
    note: Mapped[str] = mapped_column(default="")


@pytest.fixture
def engine(tmp_path, monkeypatch, redis_server, real_redis):
    """Of the shop, with two orders; recipes find it in the module `shop`."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as db, db.begin():
        db.add_all([Order(id=7), Order(id=8)])
    monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(Order=Order, engine=engine))
    monkeypatch.setenv("REDIS_URL", f"unix://{redis_server.socket}")
    monkeypatch.setenv("PRESENCE_TIMELINE_SECONDS", "600")
    yield engine
    engine.dispose()
    connection._connection.cache_clear()
    connection.presence_service.cache_clear()


@pytest.fixture
def presence(real_redis):
    """Alice edits order 7, with an unsaved note."""
    presence = RecordPresenceService(real_redis, "1", timeline_seconds=600)
    presence.update_presence("order", 7, "a1", 42, "Alice", "edit", True, dirty_fields=["note"])
    return presence


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(recipe, argument, …)`: what it prints."""

    def run(recipe, *arguments):
        monkeypatch.setattr(sys, "argv", [recipe, *map(str, arguments)])
        runpy.run_path(str(RECIPES / recipe), run_name="__main__")
        return capsys.readouterr().out

    return run


def stored(engine, order_id):
    with Session(engine) as db:
        order = db.get_one(Order, order_id)
        return order.state, order.title, order.note, order.saved_by


def saves(presence, order_id):
    entries = presence.get_timeline("order", order_id).entries
    return [(entry["fields"], entry["user"]["name"]) for entry in entries if entry["kind"] == "saved"]


def test_job_closes_what_nobody_is_at_work_on_and_the_rest_in_the_next_run(engine, presence, run):
    presence.update_presence("order", 8, "b1", 43, "Bob")

    assert run(JOB) == ("order 7 is left for the next run: Alice has unsaved changes in note.\n")
    assert stored(engine, 7) == ("delivered", "Sale", "", "")
    assert stored(engine, 8) == ("closed", "Sale", "\nClosed at night.", "Nightly job")
    assert saves(presence, 8) == [(["note", "state"], "Nightly job")]
    presence.remove_presence("order", 7, "a1", user_id=42)
    assert run(JOB) == ""
    assert stored(engine, 7)[0] == "closed"


def test_import_saves_what_is_clear_and_keeps_the_rest_for_the_next_one(engine, presence, run, tmp_path):
    orders, left, nothing_left = (tmp_path / name for name in ("orders.csv", "left.csv", "nothing.csv"))
    orders.write_text("id,title,note\n7,Big sale,imported\n8,,imported\n", "utf-8")
    run(IMPORT, orders, left)

    assert (stored(engine, 7)[1:], stored(engine, 8)[2]) == (("Big sale", "", "Import"), "imported")
    with left.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"id": "7", "title": "", "note": "imported", "held by": "Alice"}
        ]
    assert saves(presence, 7) == [(["title"], "Import")]
    presence.remove_presence("order", 7, "a1", user_id=42)
    run(IMPORT, left, nothing_left)
    assert stored(engine, 7)[1:3] == ("Big sale", "imported")
    assert nothing_left.read_text("utf-8") == "id,title,note,held by\n"


@pytest.fixture
def service(engine, real_redis):
    """The address of the service."""
    server = make_server("127.0.0.1", 0, create_app(SETTINGS, redis=real_redis), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_agent_is_seen_and_leaves_alone_what_somebody_has_unsaved(
    engine, presence, run, service, tmp_path, monkeypatch
):
    seen = []

    def load_order(order_id):
        with Session(engine) as db:
            return db.get_one(Order, int(order_id)).as_data()

    def rewrite(note):
        seen.append([viewer["name"] for viewer in presence.get_unique_viewers("order", 7)])
        return f"{note} by the agent".strip()

    def save_order(order_id, lock_version, *, note, tab_id):
        with Session(engine) as db:
            save_version(db, db.get_one(Order, int(order_id)), lock_version, {"note": note}, by="Summariser")

    yours = SimpleNamespace(load_order=load_order, rewrite=rewrite, save_order=save_order)
    monkeypatch.setitem(sys.modules, "shop", yours)
    monkeypatch.setenv("PRESENCE_TOKEN", token(act={"sub": "summariser", "name": "Summariser"}))
    recipe = tmp_path / "write_note.py"
    recipe.write_text((RECIPES / AGENT).read_text("utf-8").replace(ADDRESS, service), "utf-8")

    assert "'name': 'Alice'" in run(recipe, 7)
    assert (stored(engine, 7)[2], seen) == ("", [])
    presence.update_presence("order", 7, "a1", 42, "Alice", "edit")
    assert run(recipe, 7) == ""
    assert (stored(engine, 7)[2], seen) == ("by the agent", [["Alice", "Summariser"]])
    assert [viewer["name"] for viewer in presence.get_unique_viewers("order", 7)] == ["Alice"]
