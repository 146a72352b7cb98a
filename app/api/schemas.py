"""What comes in and what goes out. The OpenAPI document is made from these."""

import json
import math
import re
from typing import Any, NoReturn, get_args

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from app.presence.records import (
    LONGEST_ACTIVE_FIELD,
    LONGEST_USER_ID,
    MODES,
    MOST_FIELDS,
    NO_USER_ID,
    RECORD_ID,
    RECORD_TYPE,
    TAB_ID,
    is_user_id,
)
from app.presence.service import (
    DEFAULT_LIMIT,
    ENTRY_ID,
    GREATEST_LOCK_VERSION,
    UNPRINTABLE,
    is_field_name,
)
from app.presence.timeline import Kind

END = r"\Z"  # of the patterns in Python
KINDS = get_args(Kind)
MAX_LIMIT = 1000  # viewers in an answer
MAX_RECORDS = 100  # in a batch
LONGEST_VERSION = 64  # characters
RECORD_NAME = re.compile(
    rf"{RECORD_TYPE.pattern.removesuffix(END)}:{RECORD_ID.pattern.removesuffix(END)}{END}", re.ASCII
)
PRINTABLE = f"^[^{UNPRINTABLE}]+$"


class StrictBoolean(fields.Boolean):
    """true or false; not 1, "yes" or "off"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


def tab_id_field(**options: Any) -> fields.String:
    """The rule for a tab id, which is the same wherever one stands."""
    return fields.String(
        **{"required": True, **options},
        validate=validate.Regexp(TAB_ID, error="Must be 1 to 128 of A-Z, a-z, 0-9, _, ., : and -."),
        metadata={"description": "One load of one page; made by the client.", "example": "tab-7f3c"},
    )


def _user_id() -> fields.Raw:
    return UserId(
        required=True,
        metadata={
            "type": ["integer", "string"],
            "minLength": 1,
            "maxLength": LONGEST_USER_ID,
            "description": "As the proof names it.",
        },
    )


class UserId(fields.Raw):
    """An integer or a string, as a proof may name a user."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | str:
        value = _whole(value)
        if not is_user_id(value):
            raise ValidationError(NO_USER_ID)
        return value


def _field_name(text: str) -> None:
    if not is_field_name(text):
        raise ValidationError(f"Must be 1 to {LONGEST_ACTIVE_FIELD} printable characters.")


def _field(*, metadata: Any = None, **options: Any) -> fields.String:
    """The name of a form field."""
    usual = {"pattern": PRINTABLE, "minLength": 1, "maxLength": LONGEST_ACTIVE_FIELD, "example": "title"}
    return fields.String(validate=_field_name, metadata={**usual, **(metadata or {})}, **options)


def _fields(**options: Any) -> fields.List:
    return fields.List(_field(), validate=validate.Length(max=MOST_FIELDS), **options)


class StrictInteger(fields.Integer):
    """1, or 1.0, which is the same number in JSON; not "1" or true."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        value = _whole(value)
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


def _whole(value: Any) -> Any:
    """An integer for a float that is exactly one."""
    is_whole = type(value) is float and abs(value) <= GREATEST_LOCK_VERSION and value.is_integer()
    return int(value) if is_whole else value


def _lock_version(**options: Any) -> fields.Integer:
    return StrictInteger(validate=validate.Range(0, GREATEST_LOCK_VERSION), **options)


class Body(Schema):
    """A JSON object; a field that it does not know is an error."""

    class Meta:
        unknown = RAISE


class Heartbeat(Body):
    tab_id = tab_id_field()
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    dirty = StrictBoolean(required=True, metadata={"description": "Whether the tab has unsaved changes."})
    active_field = _field(
        load_default=None,
        allow_none=True,
        metadata={"description": "The form field that has the focus; printable."},
    )
    dirty_fields = _fields(
        load_default=(),
        metadata={
            "description": "The form fields with unsaved changes; all tabs of a user name 200 at most."
        },
    )
    base_version = _lock_version(
        metadata={"description": "The lock_version that the form was loaded with; asks for a forecast."}
    )
    version = fields.String(
        allow_none=True,
        validate=validate.Length(max=LONGEST_VERSION),
        metadata={"description": "The last version seen; null asks for the viewers."},
    )
    visible = StrictBoolean(load_default=True, metadata={"description": "Whether the tab is on screen."})


class Unregister(Body):
    tab_id = tab_id_field()


class Query(Schema):
    """Query parameters; those that it does not know are left alone."""

    class Meta:
        unknown = EXCLUDE


class QueryInteger(fields.Integer):
    """Digits, and perhaps a minus; not what else Python reads as a number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not _DIGITS.match(value):
            raise self.make_error("invalid")
        return int(value)


_DIGITS = re.compile(r"-?[0-9]{1,20}\Z", re.ASCII)


def _limit() -> fields.Integer:
    return QueryInteger(load_default=DEFAULT_LIMIT, validate=validate.Range(1, MAX_LIMIT))


class ViewersQuery(Query):
    include_self = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "List oneself as well."},
    )
    limit = _limit()


class BatchQuery(Query):
    record = fields.List(
        fields.String(
            validate=validate.Regexp(RECORD_NAME, error="Must read type:id."), metadata={"example": "flow:1"}
        ),
        required=True,
        validate=validate.Length(1, MAX_RECORDS),
    )


class EventsQuery(BatchQuery, ViewersQuery):
    """What to stream, and what of it to show."""


SIGNAL_KINDS = ("cursor", "typing")
MAX_SIGNAL_BYTES = 1024  # of JSON


def _signal_data(data: Any) -> None:
    try:
        is_short = len(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")) <= MAX_SIGNAL_BYTES
    except RecursionError:  # what could just be read is written from a place deeper in the stack
        is_short = False
    if not is_short:
        raise ValidationError(f"Must be at most {MAX_SIGNAL_BYTES} bytes of JSON.")


class Signal(Body):
    tab_id = tab_id_field()
    kind = fields.String(required=True, validate=validate.OneOf(SIGNAL_KINDS))
    data = fields.Raw(
        load_default=None,
        allow_none=True,
        validate=_signal_data,
        metadata={"description": f"Anything, at most {MAX_SIGNAL_BYTES} bytes of JSON."},
    )


class User(Schema):
    """Somebody, as her proof would name her."""

    id = _user_id()
    name = fields.String(required=True)


class ByUser(Body, User):
    """In whose name a server tells something."""


class Saved(Body):
    tab_id = tab_id_field()
    lock_version = _lock_version(required=True, metadata={"description": "Of the record as it is now."})
    fields = _fields(required=True, metadata={"description": "What was changed."})


class SavedByServer(Saved):
    """With a token whose role is `service`: in somebody's name, and without a tab where none is known."""

    tab_id = tab_id_field(required=False, load_default=None, allow_none=True)
    user = fields.Nested(ByUser, required=True)


class Announced(Schema):
    announced = fields.Boolean(
        required=True, metadata={"description": "False when nobody has the record open: nobody was told."}
    )


class ReleaseField(Body):
    tab_id = tab_id_field()
    field = _field(required=True)


class ClaimField(ReleaseField):
    take_over = StrictBoolean(
        load_default=False, metadata={"description": "Take it from whoever has it; both are told."}
    )


class Claim(Schema):
    user = fields.Nested(User, required=True)
    tab_id = fields.String(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})
    taken_from = fields.Nested(User)


class Claimed(Schema):
    claimed = fields.Boolean(required=True, metadata={"description": "Whether the field is this tab's now."})
    claim = fields.Nested(
        Claim, required=True, allow_none=True, metadata={"description": "Whoever has the field."}
    )


class Released(Schema):
    released = fields.Boolean(required=True)


class TimelineQuery(Query):
    since = fields.String(
        load_default=None,
        validate=validate.Regexp(ENTRY_ID, error="Must be the id of an entry."),
        metadata={"description": "Id of the last entry that is known.", "example": "1795583969538-0"},
    )
    limit = _limit()


class Save(Schema):
    lock_version = fields.Integer(required=True)
    user = fields.Nested(User, required=True)
    tab_id = fields.String(required=True, allow_none=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})
    fields = fields.List(fields.String(), required=True)


class MissedSave(Save):
    own = fields.Boolean(required=True, metadata={"description": "Another tab of the same user made it."})
    touches = fields.List(
        fields.String(), required=True, metadata={"description": "The unsaved fields that it changed."}
    )


class Forecast(Schema):
    base_version = fields.Integer(required=True)
    saves = fields.List(
        fields.Nested(MissedSave),
        required=True,
        metadata={"description": "Saves of other tabs after base_version."},
    )
    collisions = fields.List(
        fields.String(), required=True, metadata={"description": "The unsaved fields that they changed."}
    )
    contested = fields.Dict(
        fields.String(),
        fields.List(fields.Nested(User)),
        required=True,
        metadata={"description": "Who else, of the viewers listed, has unsaved changes in the same field."},
    )
    remembered_since = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "No save after this is missing here."},
    )


class Conflict(Schema):
    """Somebody has saved since the version that was sent; nothing was written."""

    current = fields.Dict(
        fields.String(), required=True, metadata={"description": "The record as it stands there now."}
    )
    lock_version = fields.Integer(required=True)
    saved_by = fields.String(required=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})
    fields = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Where it differs from what was sent, in the order of the form."},
    )


class Entry(Schema):
    """One thing that happened; which members there are depends on `kind`."""

    id = fields.String(required=True)
    at = fields.String(required=True, metadata={"format": "date-time"})
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    user = fields.Nested(User)
    tabs = fields.Integer()
    mode = fields.String(validate=validate.OneOf(MODES))
    has_dirty_tab = fields.Boolean()
    active_fields = fields.List(fields.String())
    dirty_fields = fields.List(fields.String())
    reason = fields.String()
    tab_id = fields.String(allow_none=True)
    lock_version = fields.Integer()
    field = fields.String()
    taken_from = fields.Nested(User)
    fields = fields.List(fields.String())


class Timeline(Schema):
    entries = fields.List(fields.Nested(Entry), required=True)
    next = fields.String(
        required=True, allow_none=True, metadata={"description": "`since` of the next page; null at the end."}
    )


class EvictTab(Body):
    tab_id = tab_id_field()


class Evicted(Schema):
    evicted = fields.Boolean(required=True, metadata={"description": "False when the tab was gone already."})


class InspectedTab(Schema):
    tab_id = fields.String(required=True)
    is_shown = fields.Boolean(required=True)
    reason = fields.String(required=True, metadata={"description": "Why it is shown or not, for people."})
    lease_left_ms = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Negative when it is over."}
    )
    tab = fields.Nested("Tab", required=True, allow_none=True)


class Inspection(Schema):
    version = fields.String(required=True)
    tabs = fields.List(fields.Nested(InspectedTab), required=True)


class Viewer(Schema):
    id = _user_id()
    name = fields.String(required=True)
    tabs = fields.Integer(required=True)
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    has_dirty_tab = fields.Boolean(required=True)
    active_fields = fields.List(fields.String(), required=True)
    dirty_fields = fields.List(fields.String(), metadata={"description": "Only when there are any."})


class Viewers(Schema):
    viewers = fields.List(fields.Nested(Viewer), required=True)
    total = fields.Integer(required=True, metadata={"description": "How many there are, without the limit."})
    version = fields.String(required=True)


class Registered(Schema):
    registered = fields.Boolean(required=True)
    version = fields.String(required=True)
    heartbeat_seconds = fields.Float(required=True, metadata={"description": "When to beat next."})
    viewers = fields.List(
        fields.Nested(Viewer), metadata={"description": "Only when `version` was sent and is not current."}
    )
    total = fields.Integer()
    unconfirmed = fields.Boolean(
        metadata={"description": "Redis has lost its data: whoever is missing may come back. Ask once more."}
    )
    saved = fields.List(
        fields.Nested(Save),
        metadata={"description": "With the viewers: the last saves of other tabs, if any."},
    )
    claims = fields.Dict(
        fields.String(),
        fields.Nested(Claim),
        metadata={"description": "With the viewers: who has claimed which field, if anybody."},
    )
    forecast = fields.Nested(
        Forecast, metadata={"description": "With the viewers, when `base_version` was sent."}
    )


class Tab(Schema):
    user_id = _user_id()
    user_name = fields.String(required=True)
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    dirty = fields.Boolean(required=True)
    active_field = fields.String(required=True, allow_none=True)
    last_seen_at = fields.String(required=True, metadata={"format": "date-time"})
    dirty_fields = fields.List(fields.String(), metadata={"description": "Only when there are any."})


class Tabs(Schema):
    tabs = fields.Dict(fields.String(), fields.Nested(Tab), required=True)


class Unregistered(Schema):
    unregistered = fields.Boolean(required=True)


class Signalled(Schema):
    relayed = fields.Boolean(
        required=True, metadata={"description": "False when the tab is not registered: nobody was told."}
    )


class Batch(Schema):
    records = fields.Dict(fields.String(), fields.Nested(Viewers), required=True)


def read_json(text: bytes) -> Any:
    """Parse strict JSON: no NaN, no number without end, no key twice. Raises ValueError."""
    try:
        return _decoder.decode(text.decode(json.detect_encoding(text), "surrogatepass"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # Python reads 1e999 as Infinity, and would write it so: no browser could read that.
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


# Kept: `json.loads` makes a decoder a call, which takes longer than to read a heartbeat.
_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
