"""What the body of a request may hold."""

from itertools import islice
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from ...presence.viewers import MODES
from .fields import (
    MAX_FIELD_ERRORS,
    MAX_SIGNAL_BYTES,
    SentAt,
    StrictBoolean,
    check_signal_data,
    form_field_name,
    form_field_names,
    lock_version_field,
    tab_id_field,
    user_id_field,
)

MAX_VERSION_LENGTH = 64  # characters
UNKNOWN_FIELD = "Unknown field."  # as marshmallow says it
SIGNAL_KINDS = ("cursor", "typing")


class Body(Schema):
    """A JSON object; a field that it does not know is an error."""

    class Meta:
        unknown = RAISE

    def load(self, data: Any, **options: Any) -> Any:
        # Looked at first: marshmallow would make an error of each of some thousand names.
        if isinstance(data, dict) and len(data) > len(self.fields) + MAX_FIELD_ERRORS:
            unknown = islice((name for name in data if name not in self.fields), MAX_FIELD_ERRORS)
            raise ValidationError({name: [UNKNOWN_FIELD] for name in unknown})
        return super().load(data, **options)


class Heartbeat(Body):
    tab_id = tab_id_field()
    mode = fields.String(required=True, validate=validate.OneOf(MODES))
    dirty = StrictBoolean(required=True, metadata={"description": "Whether the tab has unsaved changes."})
    active_field = form_field_name(
        load_default=None,
        allow_none=True,
        metadata={"description": "The form field that has the focus; printable."},
    )
    dirty_fields = form_field_names(
        load_default=(),
        metadata={
            "description": "The form fields with unsaved changes. Of a user's tabs together, 200 names of "
            "8,192 bytes are recorded; `left_out` has the rest."
        },
    )
    base_version = lock_version_field(
        metadata={"description": "The lock_version that the form was loaded with; asks for a forecast."}
    )
    version = fields.String(
        allow_none=True,
        validate=validate.Length(max=MAX_VERSION_LENGTH),
        metadata={"description": "The last version seen; null asks for the viewers."},
    )
    visible = StrictBoolean(load_default=True, metadata={"description": "Whether the tab is on screen."})
    active = StrictBoolean(
        metadata={
            "description": "Whether the tab is on screen, and its user did something in the last minutes. "
            "Default: `visible`. A user none of whose tabs is active is `away`."
        }
    )
    sent_at = SentAt()


class Unregister(Body):
    tab_id = tab_id_field()
    sent_at = SentAt()


class Signal(Body):
    tab_id = tab_id_field()
    kind = fields.String(required=True, validate=validate.OneOf(SIGNAL_KINDS))
    data = fields.Raw(
        load_default=None,
        allow_none=True,
        validate=check_signal_data,
        metadata={"description": f"Anything, at most {MAX_SIGNAL_BYTES} bytes of JSON."},
    )


class ByUser(Body):
    """The user on whose behalf a server reports something."""

    id = user_id_field()
    name = fields.String(required=True)


class Saved(Body):
    tab_id = tab_id_field()
    lock_version = lock_version_field(required=True, metadata={"description": "Of the record as it is now."})
    fields = form_field_names(  # type: ignore[assignment]  # the contract's name; marshmallow has one as well
        required=True, metadata={"description": "What was changed."}
    )


class SavedByServer(Saved):
    """With a token whose role is `service`: on a user's behalf, and without a tab if none is known."""

    tab_id = tab_id_field(required=False, load_default=None, allow_none=True)
    user = fields.Nested(ByUser, required=True)


class ReleaseField(Body):
    tab_id = tab_id_field()
    field = form_field_name(required=True)


class ClaimField(ReleaseField):
    refused: ClassVar = {  # `check_one_of`, for the OpenAPI document
        "required": ["take_over", "wait"],
        "properties": {"take_over": {"const": True}, "wait": {"const": True}},
    }
    take_over = StrictBoolean(
        load_default=False,
        metadata={"description": "Take the field from the tab that has it; both users are told."},
    )
    wait = StrictBoolean(
        load_default=False,
        metadata={"description": "Wait for a field that another tab has, and have it next."},
    )

    @validates_schema
    def check_one_of(self, data: dict[str, Any], **_: Any) -> None:
        if data["take_over"] and data["wait"]:
            raise ValidationError({"wait": ["Must not be given together with take_over."]})


class DeclineWaiting(ReleaseField):
    """Of a field that this tab has claimed."""


class CheckFields(Body):
    refused: ClassVar = {  # `check_announced_tab`, for the OpenAPI document; also without tab_id
        "required": ["announce"],
        "properties": {"announce": {"const": True}, "tab_id": {"const": None}},
    }
    # The contract's name; marshmallow has one as well.
    fields = form_field_names(  # type: ignore[assignment]
        required=True,
        min_length=1,
        metadata={"description": "What is to be written; `*` is the whole record."},
    )
    base_version = lock_version_field(
        metadata={"description": "The lock_version that was loaded; without it, no field is `stale`."}
    )
    tab_id = tab_id_field(required=False, load_default=None, allow_none=True)
    announce = StrictBoolean(
        load_default=False,
        metadata={"description": "Of an agent: others see it, as after a heartbeat of its tab."},
    )

    @validates_schema
    def check_announced_tab(self, data: dict[str, Any], **_: Any) -> None:
        if data["announce"] and data["tab_id"] is None:
            raise ValidationError({"tab_id": ["Must be given where announce is true."]})


class EvictTab(Body):
    tab_id = tab_id_field()
