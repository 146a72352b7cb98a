"""The same value is no change, in whatever form a database, a driver or a browser gives it back."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest
from sqlalchemy import create_engine, types
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from record_presence.versioned import RecordChanged, Versioned, save_version
from record_presence.versioned.same_value import is_same_value

BERLIN = timezone(timedelta(hours=1))
ID = UUID("6f0c1c1e-9d58-4d0e-8a4e-0c6f6f3f6a11")
NAN = float("nan")


class Colour(Enum):
    RED = "#f00"
    BLUE = "#00f"


class Cents(types.TypeDecorator):
    """A host's own type: in Python a Decimal."""

    impl = types.Integer
    cache_ok = True


MOMENT = datetime(2026, 11, 28, 14, 2, tzinfo=UTC)

SAME = [
    (types.DateTime(timezone=True), MOMENT, MOMENT.replace(tzinfo=None)),  # SQLite keeps no zone
    (types.DateTime(timezone=True), MOMENT, MOMENT.astimezone(BERLIN)),
    (types.DateTime(), MOMENT, "2026-11-28T14:02"),  # an input of type datetime-local
    (types.DateTime(), MOMENT, "2026-11-28 14:02:00.000"),
    (types.DateTime(), MOMENT, "2026-11-28T14:02:00Z"),
    (types.DateTime(), MOMENT, "2026-11-28T15:02:00+01:00"),
    (types.DateTime(), datetime(2026, 11, 28, tzinfo=UTC), date(2026, 11, 28)),
    (types.Date(), date(2026, 11, 28), "2026-11-28"),
    (types.Date(), date(2026, 11, 28), datetime(2026, 11, 28)),
    (types.Date(), date(2026, 11, 28), "2026-11-28T00:00:00"),
    (types.Time(), time(14, 2), "14:02"),
    (types.Time(), time(14, 2), "14:02:00"),
    (types.Time(), time(14, 2), timedelta(hours=14, minutes=2)),
    (types.Integer(), 5, "5"),
    (types.Integer(), 5, 5.0),
    (types.Integer(), 5, " 05 "),
    (types.Integer(), 2**60, str(2**60)),
    (types.Integer(), 1, True),
    (types.Integer(), None, ""),
    (types.Numeric(10, 2), Decimal("1.50"), 1.5),
    (types.Numeric(10, 2), Decimal("1.50"), "1.5"),
    (types.Numeric(10, 2), Decimal("0.10"), 0.1),
    (types.Numeric(10, 2), Decimal("100.00"), "1e2"),
    (types.Float(), 0.1, Decimal("0.1")),
    (types.Float(), 0.1, "0.10"),
    (types.Float(), NAN, float("nan")),
    (types.Float(), None, ""),
    (types.Boolean(), True, "on"),
    (types.Boolean(), True, "true"),
    (types.Boolean(), True, 1),
    (types.Boolean(), True, "1"),
    (types.Boolean(), False, "off"),
    (types.Boolean(), False, 0),
    (types.Boolean(), None, ""),
    (types.Uuid(), ID, str(ID)),
    (types.Uuid(), ID, str(ID).upper()),
    (types.Uuid(), ID, ID.hex),
    (types.Uuid(as_uuid=False), str(ID), ID),
    (types.JSON(), {"a": 1, "b": [1, 2]}, {"b": (1, 2), "a": 1.0}),
    (types.LargeBinary(), b"abc", memoryview(b"abc")),
    (types.LargeBinary(), b"abc", bytearray(b"abc")),
    (types.Text(), "a\nb", "a\r\nb"),
    (types.Text(), "a\nb", "a\rb"),
    (types.Enum(Colour), Colour.RED, "RED"),
    (types.Enum(Colour), Colour.RED, "#f00"),
    (types.Enum("red", "blue"), "red", "red"),
    (types.Enum(Colour), None, ""),
    (Cents(), Decimal("1.50"), "1.5"),
    (None, Decimal("1.50"), "1.5"),
    (None, Colour.RED, "RED"),
    (None, None, None),
    (types.ARRAY(types.Integer), [1, 2], (1, 2)),
    (types.Interval(), timedelta(days=1), timedelta(hours=24)),
]

CHANGED = [
    (types.DateTime(), MOMENT, "2026-11-28T14:03"),
    (types.DateTime(), MOMENT, MOMENT.replace(tzinfo=BERLIN)),
    (types.DateTime(), MOMENT, "soon"),
    (types.DateTime(), MOMENT, None),
    (types.Date(), date(2026, 11, 28), "2026-11-29"),
    (types.Date(), date(2026, 11, 28), "2026-11-28T14:02"),
    (types.Time(), time(14, 2), "14:02:01"),
    (types.Integer(), 5, "6"),
    (types.Integer(), 5, "five"),
    (types.Integer(), 0, None),
    (types.Integer(), 0, ""),
    (types.Integer(), 2**60, 2**60 + 1),
    (types.Integer(), 2**60, str(2**60 + 1)),
    (types.Integer(), 12, "1_2"),
    (types.Numeric(), Decimal("1.50"), "1.51"),
    (types.Float(), 0.1, 0.1000001),
    (types.Float(), 0.1, NAN),
    (types.Boolean(), True, "off"),
    (types.Boolean(), True, 2),
    (types.Boolean(), False, None),
    (types.Boolean(), False, ""),
    (types.Uuid(), ID, str(ID)[:-1] + "0"),
    (types.Uuid(), ID, "none"),
    (types.JSON(), {"a": 1}, {"a": True}),
    (types.JSON(), {"a": 1}, {"a": "1"}),
    (types.JSON(), [1, 2], [2, 1]),
    (types.JSON(), {"a": None}, {}),
    (types.JSON(), None, ""),
    (types.LargeBinary(), b"abc", b"abd"),
    (types.LargeBinary(), b"abc", "abc"),
    (types.String(), "1", "01"),
    (types.String(), "1", "1 "),
    (types.String(), "1", 1),
    (types.String(), "1", True),
    (types.String(), "on", True),
    (types.String(), "", None),
    (types.String(), "a", "A"),
    (types.Text(), "a\nb", "a\n\nb"),
    (types.String(), "2026-11-28", "2026-11-28T00:00"),
    (types.Enum(Colour), Colour.RED, "BLUE"),
    (types.Enum(Colour), Colour.RED, "#00f"),
    (types.Enum(Colour), Colour.RED, "green"),
    (Cents(), Decimal("1.50"), "1.51"),
    (None, "1", "01"),
    (None, None, ""),
    (None, object(), object()),
]


def _without_address(value):
    """Each of pytest's processes must find the same names."""
    return re.sub(r" at 0x\w+", "", repr(value))


@pytest.mark.parametrize(("column_type", "stored", "value"), SAME, ids=_without_address)
def test_same_value_in_another_form_is_no_change(column_type, stored, value):
    assert is_same_value(stored, value, column_type)
    assert is_same_value(value, stored, column_type) or column_type is None or isinstance(column_type, Cents)


@pytest.mark.parametrize(("column_type", "stored", "value"), CHANGED, ids=_without_address)
def test_another_value_is_a_change(column_type, stored, value):
    assert not is_same_value(stored, value, column_type)
    assert not is_same_value(value, stored, column_type)


def test_value_that_can_not_be_compared_is_a_change():
    class Unlike:
        def __eq__(self, other):
            raise ValueError("ambiguous")

        __hash__ = None

    assert not is_same_value(Unlike(), 1)


class Base(DeclarativeBase):
    pass


class Visit(Versioned, Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(types.DateTime(timezone=True))
    price: Mapped[Decimal] = mapped_column(types.Numeric(10, 2))
    seats: Mapped[int]
    is_paid: Mapped[bool]
    code: Mapped[str]


FORM = {
    "starts_at": "2026-11-28T14:02",
    "price": "1.5",
    "seats": "5",
    "is_paid": "on",
    "code": "01",
}


@pytest.fixture
def visit():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        values = {"starts_at": MOMENT, "price": Decimal("1.50"), "seats": 5, "is_paid": True, "code": "01"}
        row = Visit(id=1, **values)
        session.add(row)
        session.commit()
        yield session, row


def test_form_that_is_sent_as_it_was_filled_makes_no_new_version(visit):
    session, row = visit

    saved = save_version(session, row, 1, FORM, by="Alice")
    assert (saved.lock_version, saved.fields) == (1, [])


def test_only_what_the_user_has_changed_is_saved_and_told(visit):
    session, row = visit

    saved = save_version(session, row, 1, {**FORM, "code": "1"}, by="Alice")
    assert (saved.lock_version, saved.fields) == (2, ["code"])


def test_refusal_names_only_fields_that_differ(visit):
    session, row = visit
    save_version(session, row, 1, {"code": "1"}, by="Bob")

    with pytest.raises(RecordChanged) as refused:
        save_version(session, row, 1, FORM, by="Alice")
    assert refused.value.fields == ["code"]
