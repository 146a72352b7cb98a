"""The demo's records: flows in a database, each with a version that a save must name.

Knows nothing of requests.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, String, Text, create_engine, func, inspect, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateTable

from ..settings import INSTANCE_DIRECTORY, SettingError
from ..versioned import Saved, Versioned, save_version
from .seeds import SEEDS

STATUSES = ("draft", "active", "paused")
EDITABLE = ("name", "status", "owner", "description", "steps")
MAX_ID = 2**31 - 1  # of a PostgreSQL integer
LOCK_WAIT_SECONDS = 15  # SQLite lets one process write at a time

log = logging.getLogger("presence.demo")


class FlowNotFound(Exception):
    """There is no flow with this id."""


class FlowsUnavailable(Exception):
    """The database does not answer, which has been logged."""


@dataclass(frozen=True, slots=True)
class FlowState:
    """A flow as it was read, independent of any database session."""

    id: int
    name: str
    status: str
    owner: str
    description: str
    steps: str
    lock_version: int
    saved_at: datetime
    saved_by: str

    def as_data(self) -> dict[str, Any]:
        """JSON-ready; the time is ISO 8601, UTC."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return {**data, "saved_at": self.saved_at.isoformat()}


class _Base(DeclarativeBase):
    pass


class Flow(Versioned, _Base):
    """A row, with its version and who last saved it."""

    __tablename__ = "flow"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    status: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(Text)
    steps: Mapped[str] = mapped_column(Text)

    def as_data(self) -> dict[str, Any]:
        return self.state().as_data()

    def state(self) -> FlowState:
        values = {name: getattr(self, name) for name in FlowState.__slots__}
        if self.saved_at.tzinfo is None:  # SQLite keeps no zone
            values["saved_at"] = self.saved_at.replace(tzinfo=UTC)
        return FlowState(**values)


class Flows:
    """The flows of one database, which is created and filled when it is first used."""

    def __init__(self, database_url: str | None = None) -> None:
        """Does not connect yet. Raises SettingError for a URL that can't be used."""
        self._engine = _engine(database_url)
        self._is_ready = False

    def all(self) -> list[FlowState]:
        """Every flow, by id. Raises FlowsUnavailable, as all methods do."""
        with self._session() as session:
            return [flow.state() for flow in session.scalars(select(Flow).order_by(Flow.id))]

    def get(self, flow_id: int) -> FlowState:
        """Raises FlowNotFound."""
        with self._session() as session:
            return _find(session, flow_id).state()

    def save(self, flow_id: int, lock_version: int, values: Mapping[str, str], *, by: str) -> Saved:
        """Write `values`, if `lock_version` is still the newest; if they change nothing, no version is made.

        Raises FlowNotFound and RecordChanged, and then nothing is written.
        """
        in_order = {name: values[name] for name in EDITABLE}
        with self._session() as session:
            return save_version(session, _find(session, flow_id), lock_version, in_order, by=by)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Raises FlowsUnavailable."""
        try:
            if not self._is_ready:
                _create(self._engine)
                self._is_ready = True
            with Session(self._engine) as session:
                yield session
        except (OperationalError, InterfaceError) as error:
            log.error("flows unavailable", extra={"error": str(error.orig)})
            raise FlowsUnavailable("The flows are not available right now.") from None


def _find(session: Session, flow_id: int) -> Flow:
    # PostgreSQL refuses to compare with a number that is out of its range.
    flow = session.get(Flow, flow_id, populate_existing=True) if flow_id <= MAX_ID else None
    if flow is None:
        raise FlowNotFound(f"There is no flow {flow_id}.")
    return flow


def _engine(database_url: str | None) -> Engine:
    if database_url is None:
        return _default_engine()
    try:
        url = make_url(database_url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        options = {"timeout": LOCK_WAIT_SECONDS} if url.get_backend_name() == "sqlite" else {}
        return create_engine(url, pool_pre_ping=True, connect_args=options)
    except ModuleNotFoundError as error:
        raise SettingError(f"DATABASE_URL: needs the package {error.name}, which is not installed") from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SettingError("DATABASE_URL: must read like postgresql://user:password@host/name") from None


def _default_engine() -> Engine:
    path = INSTANCE_DIRECTORY / "flows.sqlite3"
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        log.warning("flows are kept in memory, separately in each process", extra={"reason": error.strerror})
        # A database in memory exists in one connection only, so all sessions take turns with it.
        return create_engine(
            "sqlite://",
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={"check_same_thread": False},
        )
    return create_engine(f"sqlite:///{path}", connect_args={"timeout": LOCK_WAIT_SECONDS})


def _create(engine: Engine) -> None:
    """Create the table and its first rows. Several processes may do this at once; one of them succeeds."""
    if not inspect(engine).has_table(Flow.__tablename__):
        try:
            with engine.begin() as connection:
                connection.execute(CreateTable(Flow.__table__, if_not_exists=True))  # type: ignore[arg-type]
        except DBAPIError:
            # In PostgreSQL two processes may both get as far as its catalogue.
            if not inspect(engine).has_table(Flow.__tablename__):
                raise
    with Session(engine) as session:
        if session.scalar(select(func.count()).select_from(Flow)):
            return
        now = datetime.now(UTC)
        for number, seed in enumerate(SEEDS, start=1):
            session.add(
                Flow(
                    id=number,  # so that another process can't add the same rows
                    name=seed.name,
                    status=seed.status,
                    owner=seed.owner,
                    description=seed.description,
                    steps="\n".join(seed.steps),
                    saved_at=now - timedelta(hours=seed.hours_ago),
                    saved_by=seed.saved_by,
                )
            )
        try:
            session.commit()
        except IntegrityError:
            session.rollback()
