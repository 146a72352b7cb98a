"""Every field of every call gets what nobody meant for it: no 5xx, and what is refused writes nothing."""

import json
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from record_presence.demo.people import TENANT
from tests.api.client import contents
from tests.security.routes import CASES, Visitor

NASTY = [
    *(None, True, False, 0, -1, 1.5, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400), 1e308, 5e-324),
    *("", " ", "\t", "\x00", "a\nb", "\r\nX-Evil: 1", "\x1b[31m", "\x7f", "\ud800", "\udfff\ud800", "\u202e"),
    *("é", "e\u0301", "１", "٣", "💥" * 33, "x" * 65, "x" * 129, "x" * 70_000, "None", "null", "NaN", "true"),
    *("../../etc/passwd", "..%2f..", "%00", "%", "%s%n%x", "{0}", "${7*7}", "{{7*7}}", "<script>1</script>"),
    *(
        "' OR 1=1 --",
        '";',
        "*",
        "?",
        "[a-z]",
        "\\",
        "a:b",
        "a b",
        ":",
        "#",
        "#saves",
        "__proto__",
        "constructor",
    ),
    *("{tenant_1_record_presence:flow:1}:seen", "return redis.call('FLUSHALL')", "-", ".", "..", "0", "-0"),
    *(
        [],
        {},
        [None],
        [[[[]]]],
        {"": ""},
        {"$gt": ""},
        {"__proto__": {"a": 1}},
        ["flow:1"] * 200,
        [1] * 5_000,
    ),
]
HOSTILE = st.one_of(
    st.sampled_from(NASTY),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    ),
)
HOSTILE_TEXT = st.one_of(st.sampled_from([text for text in NASTY if isinstance(text, str)]), st.text())
QUERY = ["include_self", "limit", "record", "since", "tab_id", "record_id", "tenant"]
HEADERS = [
    *("Accept", "Authorization", "Content-Type", "Cookie", "If-None-Match", "Last-Event-ID", "Origin"),
    *("Range", "Referer", "Transfer-Encoding", "X-CSRF-TOKEN", "X-Forwarded-For", "X-Forwarded-Proto"),
]
# What a header may hold once a server has let it through.
HEADER_TEXT = st.one_of(
    st.sampled_from(
        ["", " ", "bearer", "Bearer ", "Bearer é", 'W/"', "*", "0", "-1", "bytes=0-", "null", "session=x"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=200),
)


@st.composite
def bodies(draw, call):
    """The call's own body with one field replaced, left out or added, or another one in its place."""
    way = draw(st.sampled_from(["replace", "replace", "replace", "leave out", "add", "all"]))
    if way == "all":
        return draw(HOSTILE)
    body = dict(call.json)
    if way == "replace":
        body[
            draw(
                st.sampled_from([*body, *("version", "visible", "dirty_fields", "base_version", "take_over")])
            )
        ] = draw(HOSTILE)
    elif way == "leave out":
        del body[draw(st.sampled_from(sorted(body)))]
    else:
        body[draw(st.text())] = draw(HOSTILE)
    return body


@st.composite
def paths(draw, call):
    """One part of the path replaced, by text or by bytes that are none."""
    parts = call.path.split("/")
    place = draw(st.integers(1, len(parts) - 1))
    text = draw(HOSTILE_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=80))
    parts[place] = quote(text[:2_000], safe=draw(st.sampled_from(["", "/"])))
    return "/".join(parts)


PLACES = {
    "body": lambda call: bodies(call).map(
        lambda body: {"data": json.dumps(body), "content_type": "application/json"}
    ),
    "raw body": lambda _: st.binary(max_size=200).map(
        lambda data: {"data": data, "content_type": "application/json"}
    ),
    "path": lambda call: paths(call).map(lambda path: {"path": path}),
    "query": lambda _: st.lists(st.tuples(st.sampled_from(QUERY), HOSTILE_TEXT), min_size=1, max_size=3).map(
        lambda query: {
            "query": [(name, text.encode("utf-8", "surrogatepass")[:4_000]) for name, text in query]
        }
    ),
    "headers": lambda _: st.dictionaries(st.sampled_from(HEADERS), HEADER_TEXT, min_size=1, max_size=3).map(
        lambda headers: {"headers": headers}
    ),
}
FUZZED = [
    (endpoint, place)
    for endpoint, call in CASES.items()
    for place in PLACES
    if call.json is not None or "body" not in place
]


def fuzz(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize(("endpoint", "place"), FUZZED)
def test_hostile_call_is_answered_and_writes_nothing_when_it_is_refused(
    make_app, real_redis, endpoint, place
):
    redis, app = real_redis, make_app(real_redis)
    flows = app.extensions["demo_flows"]
    visitor = Visitor(app, TENANT, role="operator")
    call = CASES[endpoint]

    @fuzz(50)
    @given(PLACES[place](call))
    def send(changes):
        visitor.send(CASES["record_presence.heartbeat"])
        before = contents(redis), flows.get(1)
        options = dict(changes)
        hostile = replace(
            call, path=options.pop("path", call.path), json=None if "data" in options else call.json
        )
        with visitor.send(hostile, **options) as response:
            if call.is_stream and response.status_code == 200:
                return
            assert response.status_code < 500, response.data
            if response.status_code >= 400:
                assert (contents(redis), flows.get(1)) == before
            if hostile.path.startswith("/api/v1/presence/") and response.status_code != 304:
                assert json.loads(response.data)["success"] == (response.status_code == 200)

    send()
