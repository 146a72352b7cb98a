"""What the query of a request may hold."""

import re
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from ...presence.limits import DEFAULT_TABS_LIMIT, MAX_ARRIVAL, MAX_OPEN_PAGE, MAX_USER_ID_LENGTH
from ...presence.validation import (
    ENTRY_ID_PATTERN,
    ENTRY_ID_RULE,
    OPEN_CURSOR_PATTERN,
    RECORD_ID_PATTERN,
    RECORD_TYPE_PATTERN,
    RECORD_TYPE_RULE,
    TAB_CURSOR_PATTERN,
    TAB_CURSOR_RULE,
)
from .fields import BoundedList, QueryInteger, QueryUserId, SentAt, limit_field

PATTERN_END = r"\Z"  # of the patterns in Python
MAX_RECORDS = 100  # in a batch
RECORD_NAME = re.compile(
    f"{RECORD_TYPE_PATTERN.pattern.removesuffix(PATTERN_END)}:{RECORD_ID_PATTERN.pattern.removesuffix(PATTERN_END)}{PATTERN_END}",
    re.ASCII,
)


class Query(Schema):
    """Query parameters; unknown ones are ignored."""

    class Meta:
        unknown = EXCLUDE


class SentAtQuery(Query):
    sent_at = SentAt()


class ViewersQuery(Query):
    include_self = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "List the caller as well."},
    )
    limit = limit_field()


class ViewerPageQuery(ViewersQuery):
    after = QueryInteger(
        load_default=0,
        validate=validate.Range(0, MAX_ARRIVAL),
        metadata={"description": "`next` of the page before."},
    )


class TabsQuery(Query):
    after = fields.String(
        load_default="",
        validate=validate.Regexp(TAB_CURSOR_PATTERN, error=TAB_CURSOR_RULE),
        metadata={"description": "`next` of the page before."},
    )
    limit = limit_field(DEFAULT_TABS_LIMIT)


class BatchQuery(Query):
    record = BoundedList(
        fields.String(
            validate=validate.Regexp(RECORD_NAME, error="Must read type:id."), metadata={"example": "flow:1"}
        ),
        required=True,
        min_length=1,
        max_length=MAX_RECORDS,
    )


class EventsQuery(BatchQuery, ViewersQuery):
    """Which records to stream, and what of them to show."""


class TimelineQuery(Query):
    since = fields.String(
        load_default=None,
        validate=validate.Regexp(ENTRY_ID_PATTERN, error=ENTRY_ID_RULE),
        metadata={"description": "Id of the last entry that is known.", "example": "1795583969538-0"},
    )
    limit = limit_field()


class OpenQuery(Query):
    type = fields.String(
        load_default=None,
        validate=validate.Regexp(RECORD_TYPE_PATTERN, error=RECORD_TYPE_RULE),
        metadata={"description": "Records of this type; required without `user`.", "example": "flow"},
    )
    user = QueryUserId(
        load_default=None,
        metadata={
            "description": "Records that this user has open. A string of digits in quotes; without them an"
            " integer is meant.",
            "example": "42",
            "minLength": 1,
            "maxLength": MAX_USER_ID_LENGTH,
        },
    )
    after = fields.String(
        load_default="",
        validate=validate.Regexp(OPEN_CURSOR_PATTERN, error=TAB_CURSOR_RULE),
        metadata={"description": "`next` of the page before."},
    )
    limit = QueryInteger(
        load_default=MAX_OPEN_PAGE,
        validate=validate.Range(1, MAX_OPEN_PAGE),
        metadata={"description": "Records to look at; every ten count as a call."},
    )

    @validates_schema
    def _check_subject(self, data: dict[str, Any], **options: Any) -> None:
        if data.get("type") is None and data.get("user") is None:
            raise ValidationError({"type": ["Must be given, unless a user is."]})
