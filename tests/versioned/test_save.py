"""Saving rows of a host's own under their version, without HTTP and on SQLite."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import create_engine, delete, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from record_presence.versioned import RecordChanged, RecordDeleted, Versioned, save_version


class Base(DeclarativeBase):
    pass


class Order(Versioned, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    note: Mapped[str | None]
    due: Mapped[date | None]
    price: Mapped[Decimal | None]


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/orders.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Order(id=7, customer="Acme"), Order(id=8, customer="Zenith")])
    yield engine
    engine.dispose()


@pytest.fixture
def save(engine):
    """`save(lock_version, name=value, …)` in a session of its own."""

    def save(lock_version, *, by="Alice", **values):
        with Session(engine) as session:
            return save_version(session, session.get_one(Order, 7), lock_version, values, by=by)

    return save


@pytest.fixture
def stored(engine):
    """What stands in the database."""

    def read():
        with Session(engine) as session:
            return session.get_one(Order, 7).as_data()

    return read


def before_the_next_flush(session, action):
    """What somebody else does between our SELECT and our UPDATE."""
    event.listen(session, "before_flush", lambda *_: action(), once=True)


def test_save_makes_the_next_version_in_somebodys_name(save, stored):
    saved = save(1, customer="Acme & Sons", note=None)

    assert (saved.lock_version, saved.fields) == (2, ["customer"])
    assert saved.data == stored()
    assert (saved.data["customer"], saved.data["saved_by"]) == ("Acme & Sons", "Alice")


def test_row_is_told_for_json(save):
    saved = save(1, due=date(2026, 11, 25), price=Decimal("1.50"))

    assert datetime.fromisoformat(saved.data.pop("saved_at")).tzinfo == UTC
    assert saved.data == {
        "id": 7,
        "customer": "Acme",
        "note": None,
        "due": "2026-11-25",
        "price": "1.5000000000",
        "lock_version": 2,
        "saved_by": "Alice",
    }


def test_save_that_changes_nothing_makes_no_version(save, stored):
    before = stored()
    saved = save(1, customer="Acme")

    assert (saved.lock_version, saved.fields) == (1, [])
    assert saved.data == before == stored()


def test_old_version_is_refused_with_what_stands_there_now(save, stored):
    save(1, note="by Friday", by="Bob")
    before = stored()
    with pytest.raises(RecordChanged, match=r"^Bob saved version 2 in the meantime\.$") as refused:
        save(1, note="by Monday", customer="Acme")

    assert refused.value.current == before == stored()
    assert (refused.value.lock_version, refused.value.saved_by) == (2, "Bob")
    assert refused.value.saved_at.isoformat() == before["saved_at"]
    assert refused.value.fields == ["note"]


def test_row_that_nobody_has_saved_yet_is_somebodys(save):
    with pytest.raises(RecordChanged, match=r"^Somebody saved version 1 "):
        save(0, note="")


def test_save_between_our_select_and_our_update_is_seen(engine, save, stored):
    with Session(engine) as session:
        row = session.get_one(Order, 7)
        before_the_next_flush(session, lambda: save(1, note="theirs", by="Bob"))
        with pytest.raises(RecordChanged) as refused:
            save_version(session, row, 1, {"note": "ours", "customer": "Acme"}, by="Alice")

    assert (stored()["note"], stored()["lock_version"]) == ("theirs", 2)
    assert refused.value.current == stored()
    assert refused.value.fields == ["note"]


def test_row_that_is_deleted_meanwhile_is_not_brought_back(engine):
    def delete_it():
        with Session(engine) as other, other.begin():
            other.execute(delete(Order).where(Order.id == 7))

    with Session(engine) as session:
        row = session.get_one(Order, 7)
        before_the_next_flush(session, delete_it)
        with pytest.raises(RecordDeleted):
            save_version(session, row, 1, {"note": "ours"}, by="Alice")

    with Session(engine) as session:
        assert session.get(Order, 7) is None


def test_row_that_is_deleted_before_is_not_brought_back_either(engine, save):
    with Session(engine, expire_on_commit=False) as session:
        row = session.get_one(Order, 7)
        session.commit()
        with Session(engine) as other, other.begin():
            other.execute(delete(Order).where(Order.id == 7))
        with pytest.raises(RecordDeleted):
            save_version(session, row, 2, {"note": "ours"}, by="Alice")


def test_session_that_has_had_the_row_for_a_while_saves_what_is_newest(engine, save):
    with Session(engine, expire_on_commit=False) as session:
        row = session.get_one(Order, 7)
        session.commit()
        save(1, note="theirs", by="Bob")

        assert save_version(session, row, 2, {"note": "ours"}, by="Alice").lock_version == 3


def test_what_was_saved_is_told_as_it_was_though_somebody_saves_right_after(engine, save, stored):
    with Session(engine) as session:
        row = session.get_one(Order, 7)
        event.listen(session, "after_commit", lambda _: save(2, note="theirs", by="Bob"), once=True)
        saved = save_version(session, row, 1, {"note": "ours"}, by="Alice")

    assert (saved.lock_version, saved.data["note"], saved.data["saved_by"]) == (2, "ours", "Alice")
    assert (stored()["lock_version"], stored()["note"]) == (3, "theirs")


def test_conflict_of_another_row_of_the_same_flush_is_the_hosts(engine):
    with Session(engine) as session:
        row, other_row = session.get_one(Order, 7), session.get_one(Order, 8)

        def save_the_other():
            with Session(engine) as other:
                save_version(other, other.get_one(Order, 8), 1, {"note": "theirs"}, by="Bob")

        before_the_next_flush(session, save_the_other)
        other_row.note = "ours"
        with pytest.raises(StaleDataError), session.no_autoflush:
            save_version(session, row, 1, {"note": "ours"}, by="Alice")


def test_name_that_is_too_long_or_half_a_character_is_kept_as_elsewhere(save):
    assert save(1, note="1", by="x" * 300).data["saved_by"] == "x" * 200
    assert save(2, note="2", by="half \ud83d").data["saved_by"] == "half ?"
