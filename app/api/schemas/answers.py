"""What an answer holds, in `data` of the envelope."""

from typing import get_args

from marshmallow import Schema, fields, validate

from ...presence.results import ClaimRefusal, SaveRefusal
from ...presence.timeline import Kind
from ...presence.viewers import MODES
from .fields import user_id_field

KINDS = get_args(Kind)  # of timeline entries


class Principal(Schema):
    """Whom an agent works for, by id."""

    id = user_id_field()


class Agent(Schema):
    """Only of a program that works on behalf of a user; `id` and `name` are then the program's."""

    # The contract's name is a keyword in Python.
    for_ = fields.Nested(Principal, required=True, data_key="for")


class User(Schema):
    """A user, as in their proof of identity."""

    id = user_id_field()
    name = fields.String(required=True)
    agent = fields.Nested(Agent)


class Waiting(Schema):
    """A tab that waits for the field: it has it as soon as nothing else is in its way."""

    user = fields.Nested(User, required=True)
    tab_id = fields.String(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})
    field = fields.String(
        metadata={"description": "What it waits for, where that is not the field of the claim."}
    )


class HeldClaim(Schema):
    """Who has a field."""

    user = fields.Nested(User, required=True)
    tab_id = fields.String(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})
    taken_from = fields.Nested(User, metadata={"description": "Who had it, and did not let it go."})
    passed_from = fields.Nested(User, metadata={"description": "Who had it, while this tab waited."})
    field = fields.String(
        metadata={"description": "In an answer about another field, `*` perhaps: what is claimed."}
    )


class Claim(HeldClaim):
    waiting = fields.List(
        fields.Nested(Waiting),
        metadata={"description": "Who waits for it, in their order; only when somebody does."},
    )
    passes_at = fields.String(
        metadata={
            "format": "date-time",
            "description": "When it passes on to who waits, unless its user comes back before; only while "
            "somebody waits and its user is away.",
        }
    )


class Save(Schema):
    lock_version = fields.Integer(required=True)
    user = fields.Nested(User, required=True)
    tab_id = fields.String(required=True, allow_none=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})
    fields = fields.List(  # type: ignore[assignment]  # the contract's name; marshmallow has one as well
        fields.String(), required=True
    )


class MissedSave(Save):
    own = fields.Boolean(required=True, metadata={"description": "Another tab of the same user made it."})
    touches = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The unsaved fields that this save changed."},
    )


class Forecast(Schema):
    base_version = fields.Integer(required=True)
    saves = fields.List(
        fields.Nested(MissedSave),
        required=True,
        metadata={"description": "Saves of other tabs after base_version."},
    )
    collisions = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The unsaved fields that these saves changed."},
    )
    contested = fields.Dict(
        fields.String(),
        fields.List(fields.Nested(User)),
        required=True,
        metadata={"description": "Which other viewers have unsaved changes in the same field."},
    )
    own_tabs = fields.Integer(
        required=True, metadata={"description": "How many other tabs of the user have the record open."}
    )
    own_contested = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Which of the unsaved fields the user has unsaved in another tab as well."},
    )
    remembered_since = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "Every save after this moment is known."},
    )


class NamedPrincipal(Principal):
    """Whom an agent works for."""

    name = fields.String(required=True)


class ViewerAgent(Schema):
    """Only of a program that works on behalf of a user; `id` and `name` are then the program's."""

    for_ = fields.Nested(NamedPrincipal, required=True, data_key="for")


class Viewer(Schema):
    id = user_id_field()
    name = fields.String(required=True)
    tabs = fields.Integer(required=True)
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    has_dirty_tab = fields.Boolean(required=True)
    active_fields = fields.List(fields.String(), required=True)
    away = fields.Boolean(required=True, metadata={"description": "None of the user's tabs is active."})
    since = fields.String(
        required=True,
        metadata={
            "format": "date-time",
            "description": "When the user came: since then they have always had the record open.",
        },
    )
    dirty_fields = fields.List(fields.String(), metadata={"description": "Only when there are any."})
    picture = fields.String(metadata={"description": "An https URL; only when there is one."})
    about = fields.Dict(
        fields.String(),
        fields.String(),
        metadata={"description": "Up to 8 texts by name, such as a job title; only when there are any."},
    )
    agent = fields.Nested(ViewerAgent)


class Viewers(Schema):
    viewers = fields.List(fields.Nested(Viewer), required=True)
    total = fields.Integer(required=True, metadata={"description": "How many there are in all."})
    version = fields.String(required=True)
    next = fields.Integer(
        metadata={
            "description": "Only when there are more: `after` of the next page, `GET {type}/{id}/viewers`."
        }
    )


class Batch(Schema):
    records = fields.Dict(fields.String(), fields.Nested(Viewers), required=True)


class LeftOut(Schema):
    """What of the heartbeat was not recorded, because the user's tabs together name too many fields."""

    active_field = fields.String(
        metadata={"description": "Not shown: the user's other tabs are in 20 other fields."}
    )
    dirty_fields = fields.List(
        fields.String(), metadata={"description": "Not shown: 200 names or 8,192 bytes of them are."}
    )
    more = fields.Integer(
        metadata={"description": "How many more of `dirty_fields` were left out and are not named here."}
    )


class Registered(Schema):
    registered = fields.Boolean(
        required=True, metadata={"description": "False of a user with a hidden role, whom nobody sees."}
    )
    version = fields.String(required=True)
    heartbeat_seconds = fields.Float(
        required=True, metadata={"description": "When to send the next heartbeat."}
    )
    left_out = fields.Nested(
        LeftOut,
        metadata={"description": "Only when some of the fields were not recorded. The tab is registered."},
    )
    viewers = fields.List(
        fields.Nested(Viewer), metadata={"description": "Only when `version` was sent and is not current."}
    )
    total = fields.Integer()
    next = fields.Integer(
        metadata={"description": "Only when there are more: `after` of the next page of `GET viewers`."}
    )
    unconfirmed = fields.Boolean(
        metadata={"description": "Redis has lost its data; viewers may be missing. Ask again."}
    )
    saved = fields.List(
        fields.Nested(Save),
        metadata={"description": "With the viewers: the latest saves of other tabs, if any."},
    )
    claims = fields.Dict(
        fields.String(),
        fields.Nested(Claim),
        metadata={"description": "With the viewers: who has claimed which field, if any is claimed."},
    )
    forecast = fields.Nested(
        Forecast, metadata={"description": "With the viewers, when `base_version` was sent."}
    )


class Tab(Schema):
    user_id = user_id_field()
    user_name = fields.String(required=True)
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    dirty = fields.Boolean(required=True)
    active_field = fields.String(required=True, allow_none=True)
    last_seen_at = fields.String(required=True, metadata={"format": "date-time"})
    away = fields.Boolean(metadata={"description": "Only of a tab that is not active: true."})
    dirty_fields = fields.List(fields.String(), metadata={"description": "Only when there are any."})


class Tabs(Schema):
    tabs = fields.Dict(fields.String(), fields.Nested(Tab), required=True)
    next = fields.String(metadata={"description": "Only when there are more: `after` of the next page."})


class Unregistered(Schema):
    unregistered = fields.Boolean(required=True)


class Signalled(Schema):
    relayed = fields.Boolean(
        required=True,
        metadata={"description": "False when the tab is not registered; nothing was sent."},
    )


class Contender(Schema):
    """A viewer who has unsaved changes in a field."""

    id = user_id_field()
    name = fields.String(required=True)
    away = fields.Boolean(required=True, metadata={"description": "None of the user's tabs is active."})
    agent = fields.Nested(ViewerAgent)


def _more() -> fields.Dict:
    return fields.Dict(
        fields.String(),
        fields.Integer(),
        metadata={"description": "Of very many viewers of a field, how many are not named; only if any."},
    )


class StaleField(Schema):
    """The last save of a field after `base_version`."""

    lock_version = fields.Integer(required=True)
    user = fields.Nested(User, required=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})


class Checked(Schema):
    """A field stands in each of `stale`, `contested` and `claimed` that holds for it, or in `clear`."""

    clear = fields.List(fields.String(), required=True)
    stale = fields.Dict(fields.String(), fields.Nested(StaleField), required=True)
    contested = fields.Dict(fields.String(), fields.List(fields.Nested(Contender)), required=True)
    more = _more()
    claimed = fields.Dict(fields.String(), fields.Nested(HeldClaim), required=True)
    remembered_since = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "format": "date-time",
            "description": "Every save after this moment is known; null where nobody has the record open.",
        },
    )
    version = fields.String(required=True)


class Announced(Schema):
    touched = fields.Dict(
        fields.String(),
        fields.List(fields.Nested(Contender)),
        metadata={"description": "Whose unsaved fields the save has touched; only if any, and announced."},
    )
    more = _more()
    announced = fields.Boolean(
        required=True,
        metadata={"description": "Whether the viewers were told, by this call or the same one before."},
    )
    reason = fields.String(
        validate=validate.OneOf(get_args(SaveRefusal)),
        metadata={"description": "Why nobody was told."},
    )


def _version_with_result() -> fields.String:
    return fields.String(
        metadata={"description": "Lists of this version or a later one show the result; only of a live tab."}
    )


class Claimed(Schema):
    claimed = fields.Boolean(required=True, metadata={"description": "Whether this tab now holds the field."})
    claim = fields.Nested(
        HeldClaim,
        required=True,
        allow_none=True,
        metadata={"description": "The claim on the field, or in its way, if any."},
    )
    place = fields.Integer(
        metadata={"description": "Only of a tab that waits: 1 is the next to have the field."}
    )
    reason = fields.String(
        validate=validate.OneOf(get_args(ClaimRefusal)),
        metadata={"description": "Why the field was not given, unless the claim says it."},
    )
    version = _version_with_result()


class Released(Schema):
    released = fields.Boolean(required=True)
    version = _version_with_result()


class Declined(Schema):
    declined = fields.Integer(
        required=True, metadata={"description": "How many tabs were sent away that waited for the claim."}
    )
    version = _version_with_result()


class Entry(Schema):
    """One event; which members it has depends on `kind`."""

    id = fields.String(required=True)
    at = fields.String(required=True, metadata={"format": "date-time"})
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    user = fields.Nested(User)
    tabs = fields.Integer()
    mode = fields.String(validate=validate.OneOf(MODES))
    has_dirty_tab = fields.Boolean()
    active_fields = fields.List(fields.String())
    dirty_fields = fields.List(fields.String())
    away = fields.Boolean()
    since = fields.String(
        metadata={
            "format": "date-time",
            "description": "When the user came, as far as the timeline tells. Of `join`, `update`, `leave`.",
        }
    )
    reason = fields.String()
    tab_id = fields.String(allow_none=True)
    lock_version = fields.Integer()
    more_fields = fields.Integer(
        metadata={"description": "How many fields a save has beyond those listed, if any."}
    )
    field = fields.String()
    taken_from = fields.Nested(User)
    passed_from = fields.Nested(User)
    fields = fields.List(  # type: ignore[assignment]  # the contract's name; marshmallow has one as well
        fields.String()
    )


class Timeline(Schema):
    entries = fields.List(fields.Nested(Entry), required=True)
    next = fields.String(
        required=True, allow_none=True, metadata={"description": "`since` of the next page; null at the end."}
    )


class InspectedTab(Schema):
    tab_id = fields.String(required=True)
    is_shown = fields.Boolean(required=True)
    reason = fields.String(required=True, metadata={"description": "Why the tab is listed or not, in words."})
    lease_left_ms = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Negative once the lease has expired."}
    )
    tab = fields.Nested(Tab, required=True, allow_none=True)


class Inspection(Schema):
    version = fields.String(required=True)
    tabs = fields.List(fields.Nested(InspectedTab), required=True)
    next = fields.String(metadata={"description": "Only when there are more: `after` of the next page."})


class Evicted(Schema):
    evicted = fields.Boolean(required=True, metadata={"description": "False when the tab was already gone."})


class OpenViewer(Schema):
    """The user who was asked for."""

    id = user_id_field()
    name = fields.String(required=True)
    tabs = fields.Integer(required=True)
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    has_dirty_tab = fields.Boolean(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})


class OpenRecord(Schema):
    record = fields.String(required=True, metadata={"example": "flow:12"})
    people = fields.Integer(required=True, metadata={"description": "How many users, agents apart."})
    agents = fields.Integer(required=True)
    editing = fields.List(fields.Nested(User), required=True, metadata={"description": "Who edits."})
    unsaved = fields.List(
        fields.Nested(User), required=True, metadata={"description": "Who has unsaved changes."}
    )
    since = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "Since then somebody has always had it open."},
    )
    more = fields.Boolean(
        metadata={"description": "Only where they are too many to name all who edit or have unsaved changes."}
    )
    viewer = fields.Nested(
        OpenViewer, metadata={"description": "Only where records of a user were asked for."}
    )


class OpenRecords(Schema):
    records = fields.List(fields.Nested(OpenRecord), required=True)
    next = fields.String(metadata={"description": "Only when there are more: `after` of the next page."})


class Conflict(Schema):
    """The record was saved by somebody else after the version that was sent; nothing was written."""

    current = fields.Dict(
        fields.String(), required=True, metadata={"description": "The record as it is stored now."}
    )
    lock_version = fields.Integer(required=True)
    saved_by = fields.String(required=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})
    fields = fields.List(  # type: ignore[assignment]  # the contract's name; marshmallow has one as well
        fields.String(),
        required=True,
        metadata={"description": "The fields that differ from what was sent, in the order of the form."},
    )
