"""The quick way to load a heartbeat says exactly what the schema says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validates

from record_presence.api import schemas
from record_presence.api.fast_schema import FastSchema

SCHEMA = schemas.Heartbeat()
QUICK = FastSchema(SCHEMA)
RIGHT = {
    "tab_id": st.sampled_from(["t1", "a" * 128, "0.:-_"]),
    "mode": st.sampled_from(["view", "edit"]),
    "dirty": st.booleans(),
    "active_field": st.none() | st.sampled_from(["name", "é", "x" * 128]),
    "version": st.none() | st.sampled_from(["1-ab", "x" * 64]),
    "visible": st.booleans(),
    "dirty_fields": st.lists(st.sampled_from(["name", "steps"]), max_size=2),
    "base_version": st.integers(0, 3),
}
REQUIRED = ("tab_id", "mode", "dirty")

right_documents = st.fixed_dictionaries(
    {name: RIGHT[name] for name in REQUIRED},
    optional={name: values for name, values in RIGHT.items() if name not in REQUIRED},
)
values = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["view", "t1\n", "a" * 129, "x" * 65, "\x00", "true"])
    | st.lists(st.text(max_size=2), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.none(), max_size=1)
)
names = st.sampled_from([*RIGHT, "user_id", "__proto__", ""])
documents = st.builds(
    lambda document, wrong, left_out: {k: v for k, v in {**document, **wrong}.items() if k not in left_out},
    right_documents,
    st.dictionaries(names, values, max_size=3),
    st.sets(names, max_size=2),
)


def outcome(load, document):
    try:
        return load(document)
    except ValidationError as error:
        return ("refused", error.normalized_messages())


@given(documents | values)
@example({"tab_id": "t1", "mode": "view", "dirty": False, "base_version": True})
@example({"tab_id": "t1", "mode": "view", "dirty": 0})
def test_any_document_is_loaded_or_refused_as_the_schema_does(document):
    assert outcome(QUICK.load, document) == outcome(SCHEMA.load, document)


@given(right_documents)
def test_document_that_is_right_does_not_trouble_the_schema(document):
    quick = FastSchema(SCHEMA)
    quick._schema = None

    assert quick.load(document) == SCHEMA.load(document)


class WithHook(schemas.Body):
    @post_load
    def change(self, data, **_):
        return data


class WithValidator(schemas.Body):
    name = fields.String()

    @validates("name")
    def check(self, value, **_):
        pass


class WithNumber(schemas.Body):
    number = fields.Integer()


class WithOtherName(schemas.Body):
    name = fields.String(data_key="n")


class Lenient(Schema):
    class Meta:
        unknown = EXCLUDE


@pytest.mark.parametrize("schema", [WithHook, WithValidator, WithNumber, WithOtherName, Lenient])
def test_schema_that_does_more_is_refused(schema):
    with pytest.raises(TypeError, match="is not plain"):
        FastSchema(schema())
