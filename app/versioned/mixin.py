"""The columns that a model mixes in to have its saves checked against a version."""

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import DateTime, String, inspect
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from ..presence.limits import MAX_USER_NAME_LENGTH


class Versioned:
    """Columns for a model. SQLAlchemy increments `lock_version` with each UPDATE.

    An UPDATE of an old version finds no row, whatever happened since the SELECT.
    """

    lock_version: Mapped[int] = mapped_column()
    saved_by: Mapped[str] = mapped_column(String(MAX_USER_NAME_LENGTH), default="")
    saved_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
        return {"version_id_col": cls.lock_version}

    def as_data(self) -> dict[str, Any]:
        """The row as JSON can hold it: every column, times in ISO 8601. Override it to show less, or more."""
        columns = inspect(type(self)).column_attrs
        return {column.key: _json_ready(getattr(self, column.key)) for column in columns}


def with_time_zone(moment: datetime) -> datetime:
    """The same moment in UTC; SQLite stores no time zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json_ready(value: Any) -> Any:
    if isinstance(value, datetime):
        return with_time_zone(value).isoformat()
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)  # a Decimal, a UUID
