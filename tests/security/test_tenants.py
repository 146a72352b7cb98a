"""Two tenants with the same records, tabs and users: by no route does anything of one reach the other.

tests/security/routes.py has a call for every route. A new route without one fails here.
"""

import json
import logging
import re
import time
from dataclasses import replace

import jwt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from limits import parse

from record_presence.demo.people import TENANT
from record_presence.identity.bearer import BearerTokens, issue_token, signing_key
from record_presence.identity.caller import Caller, Unauthenticated
from record_presence.identity.throttle import Throttle
from record_presence.presence.errors import InvalidPresence
from record_presence.presence.records import Record, quote_tenant
from record_presence.presence.service import RecordPresenceService
from tests.api.client import SETTINGS, failure_of
from tests.api.sse import Parser
from tests.security.routes import CASES, GOODBYE, MARK, OPEN, USER, Visitor

LOADER = "tests.security.routes:load_caller"
# Their tenant, and ours: alike in every way that a careless key would confuse.
PAIRS = [
    ("1", "2"),
    ("1", "1_record_presence:flow:12"),
    ("1", "1_record_presence"),
    ("1_record_presence:flow", "1"),
    ("1", "1_presence_calls:42"),
    ("1", "{1}"),
    ("1}:seen", "1"),
    ("{tenant_1_record_presence:flow:12}", "1"),
    ("1", "1\n"),
    ("1", " 1"),
    ("1", "1\x00"),
    ("1", "*"),
    ("1", "?"),
    ("1", "[1]"),
    ("1", "../1"),
    ("%31", "1"),
    ("a b", "a%20b"),
    ("a", "A"),
    ("1", "１"),  # a digit of full width
    ("1", "١"),  # an Arabic one
    ("\u00e9", "e\u0301"),
    ("1", "1\u200b"),
    ("\ud800", "\ud801"),
    ("x" * 128, "x" * 127),
    ("😀" * 128, "😀" * 127),
    ("'; --", '"'),
    ("demo", "1"),
    ("None", "null"),
]


def like(answers):
    """The answers without what is another each time: versions, times, and when to come back."""
    changing = re.compile(r'\d{10,}-[0-9a-f]+|\d{4}-\d\d-\d\dT[\d:.]+|retry: \d+|"saved_at":[^,}]*')
    return {endpoint: (status, changing.sub("…", text)) for endpoint, (status, text) in answers.items()}


def held(redis):
    """Everything that Redis holds, the counts of calls as well."""
    return {key: redis.dump(key) for key in redis.scan_iter()}


def test_every_route_has_a_case(make_app):
    routes = {rule.endpoint for rule in make_app().url_map.iter_rules()}

    assert routes - CASES.keys() - OPEN.keys() == set(), "say in CASES how a user calls them"
    assert (CASES.keys() | OPEN.keys()) - routes == set(), "no such routes any more"


def test_every_call_that_names_a_user_is_a_case(make_app):
    app = make_app()
    stranger = app.test_client()

    for endpoint, call in CASES.items():
        response = stranger.open(call.path, method=call.method, json=call.json, query_string=call.query)
        assert response.status_code == 401, endpoint
    for endpoint, path in OPEN.items():
        with stranger.get(path) as response:
            assert response.status_code in {200, 405}, endpoint


def test_every_call_is_one_that_a_user_may_make(make_app):
    answers = Visitor(make_app(), "1").visit()

    assert {endpoint: status for endpoint, (status, _) in answers.items() if status != 200} == {
        "demo.api.read_flow": 403,  # the demo's people are a tenant of their own
        "demo.api.save_flow": 403,
        "record_presence_operators.open_records": 403,
        "record_presence_operators.inspect": 403,
        "record_presence_operators.evict": 403,
    }


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=ascii)
def test_operator_sees_and_removes_nothing_of_another_tenant(make_app, theirs, ours):
    app = make_app()
    Visitor(app, theirs, mark=MARK).visit(until=GOODBYE)
    before = held(app.extensions["presence"].redis)
    operator = Visitor(app, ours, role="operator")

    listed = operator.answer(CASES["record_presence_operators.open_records"])
    seen = operator.answer(CASES["record_presence_operators.inspect"])
    evicted = operator.answer(CASES["record_presence_operators.evict"])

    assert (listed[0], json.loads(listed[1])["data"]) == (200, {"records": []})
    assert (seen[0], json.loads(seen[1])["data"]["tabs"]) == (200, [])
    assert (evicted[0], json.loads(evicted[1])["data"]) == (200, {"evicted": False})
    after = held(app.extensions["presence"].redis)
    assert {key: after.get(key) for key in before} == before


PROOFS = {
    "bearer": {"proof": "bearer"},
    "session": {"proof": "session"},
    "loader": {"proof": "loader"},
    "service": {"proof": "bearer", "role": "service"},
}


# A tenant's keys are made in one place, whatever the proof: all pairs by one, each proof with some.
TELLING_PAIRS = [
    ("1", "1_record_presence:flow:12"),
    ("1}:seen", "1"),
    ("a b", "a%20b"),
    ("\u00e9", "e\u0301"),
]
PAIRS_AND_PROOFS = [
    *((*pair, "bearer") for pair in PAIRS),
    *((*pair, how) for how in PROOFS if how != "bearer" for pair in TELLING_PAIRS),
]


@pytest.mark.parametrize(("theirs", "ours", "how"), PAIRS_AND_PROOFS, ids=ascii)
def test_answers_are_the_same_whether_or_not_another_tenant_is_there(make_app, real_redis, theirs, ours, how):
    app = make_app(real_redis, identity_loader=LOADER)
    alone = Visitor(app, ours, **PROOFS[how]).visit()
    real_redis.flushall()
    Visitor(app, theirs, mark=MARK, **PROOFS[how]).visit(until=GOODBYE)

    answers = Visitor(app, ours, **PROOFS[how]).visit()

    assert like(answers) == like(alone)
    assert MARK not in str(answers)
    assert {status for status, _ in answers.values()} == {200, 403}


# The demo's tenant, in which anybody may be anybody


def test_host_can_not_put_anybody_into_the_demos_tenant(make_app):
    app = make_app(identity_loader=LOADER)
    proof = issue_token(SETTINGS, {"sub": 1, "name": "Mallory", "tenant": TENANT, "role": "operator"}, 600)
    signed, loaded = Visitor(app, "1"), Visitor(app, TENANT, proof="loader")
    signed.headers = {"Authorization": f"Bearer {proof}"}

    for visitor in (signed, loaded):
        assert {status for status, _ in visitor.visit().values()} == {401}


@pytest.mark.parametrize("jwt_key", ["", "a key of the host, of thirty-two bytes or more"])
def test_demo_signs_for_no_tenant_but_its_own(make_app, jwt_key):
    app = make_app(jwt_key=jwt_key)
    tokens = app.extensions["presence"].bearer_tokens
    path = OPEN["demo.pages.next_operator_token"]
    given = app.test_client().get(path).json["data"]["token"]
    claims = {"sub": 1, "name": "Alice Moreau", "tenant": TENANT, "exp": int(time.time()) + 600}
    key, kid = tokens._reserved[TENANT], {"kid": TENANT}

    assert tokens.identify(given).tenant == TENANT
    assert tokens.identify(jwt.encode(claims, key, headers=kid)).tenant == TENANT
    for forged in (
        jwt.encode({**claims, "tenant": "1"}, key, headers=kid),
        jwt.encode({**claims, "tenant": "1"}, key),
        jwt.encode(claims, key),
        jwt.encode(claims, signing_key(replace(SETTINGS, jwt_key=jwt_key)), headers=kid),
        jwt.encode(claims, signing_key(replace(SETTINGS, jwt_key=jwt_key))),
    ):
        with pytest.raises(Unauthenticated):
            tokens.identify(forged)
    with pytest.raises(Unauthenticated):  # by a process without the demo
        BearerTokens(replace(SETTINGS, jwt_key=jwt_key)).identify(given)


def test_tenant_called_demo_is_a_customers_like_any_other(make_app):
    app = make_app()
    customer = Visitor(app, "demo", mark=MARK)
    customer.visit(until=GOODBYE)
    given = app.test_client().get(OPEN["demo.pages.next_operator_token"]).json["data"]["token"]
    operator = Visitor(app, "1")
    operator.headers = {"Authorization": f"Bearer {given}"}

    assert MARK not in str(operator.visit())
    assert "t1" in customer.answer(CASES["record_presence.tabs"])[1]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=ascii)
def test_nothing_that_one_tenant_does_changes_anything_of_another(make_app, theirs, ours):
    app = make_app()
    redis = app.extensions["presence"].redis
    other = Visitor(app, theirs, mark=MARK)
    other.visit(until=GOODBYE)
    before, seen = held(redis), other.answer(CASES["record_presence.tabs"])
    counted = Throttle(None, None, SETTINGS.rate_limit, one_slot=True).quota(Caller(USER, "", theirs)).key
    after_asking = held(redis)

    Visitor(app, ours).visit()

    after = held(redis)
    assert {key: after.get(key) for key in before} == after_asking
    tenant = quote_tenant(ours)
    assert set(after) - set(before) == {
        *(key for key in after if key.startswith(f"tenant_{tenant}_presence_".encode())),
        f"tenant_{tenant}_record_presence_open:{{{tenant}}}:type:flow".encode(),
        f"tenant_{tenant}_record_presence_open:{{{tenant}}}:user:{USER}".encode(),
        Record(ours, "flow", "12").timeline_key.encode(),
        Record(ours, "flow", "12").left_key.encode(),
    }, "of a visit nothing is left but counts of calls, notes, the timeline and the goodbye"
    assert counted.encode() in before
    assert other.answer(CASES["record_presence.tabs"]) == seen


@pytest.mark.parametrize("trick", ["query", "headers", "body"])
@pytest.mark.parametrize("endpoint", CASES)
def test_no_part_of_a_request_but_its_proof_names_the_tenant(make_app, endpoint, trick):
    app, call = make_app(), CASES[endpoint]
    Visitor(app, "theirs", mark=MARK).visit(until=GOODBYE)
    ours = Visitor(app, "ours")
    plain = like({endpoint: ours.answer(call)})
    if trick == "query":
        tricked = ours.answer(call, query=[("tenant", "theirs"), ("tenant_id", "theirs")])
    elif trick == "headers":
        names = ("X-Tenant", "X-Tenant-Id", "Tenant", "X-Forwarded-User", "X-Remote-User", "X-Original-URL")
        tricked = ours.answer(call, headers=dict.fromkeys(names, "theirs"))
    elif call.json is not None:
        response = ours.send(replace(call, json={**call.json, "tenant": "theirs"}))
        assert response.status_code in {403, 422}
        return
    else:
        return

    assert like({endpoint: tricked}) == plain


# Streams


def test_streams_of_two_tenants_tell_each_only_its_own(make_app, redis):
    app = make_app(redis)
    theirs, ours = Visitor(app, "1", mark=MARK), Visitor(app, "1_record_presence:flow:12")
    call = CASES["record_presence_events.events"]
    streams = {"theirs": theirs.send(call), "ours": ours.send(call)}
    parsers = {name: Parser() for name in streams}

    def hear(name, kind):
        """Read on until a message of this kind has come."""
        while kind not in [message.event for message in parsers[name].messages]:
            parsers[name].feed(next(iter(streams[name].response)))
        return parsers[name].messages

    for name in streams:
        hear(name, "snapshot")
    theirs.visit()
    ours.visit()
    heard = {name: hear(name, "leave") for name in streams}
    for response in streams.values():
        response.close()

    for name, mark, other in (("theirs", MARK, "ours"), ("ours", "ours", MARK)):
        kinds = [message.event for message in heard[name]]
        assert kinds.count("snapshot") == kinds.count("join") == kinds.count("leave") == 1
        assert mark in str(heard[name])
        assert f"'{other}'" not in str(heard[name])


def test_version_of_another_tenant_brings_nothing_of_it_and_hides_nothing(make_app):
    app = make_app()
    theirs = Visitor(app, "1", mark=MARK)
    theirs.visit(until=GOODBYE)
    call = CASES["record_presence.viewers"]
    etag = theirs.send(call).headers["ETag"]
    version = theirs.send(call).json["data"]["version"]
    ours = Visitor(app, "2")

    assert ours.send(call, headers={"If-None-Match": etag}).status_code == 200
    beat = CASES["record_presence.heartbeat"]
    answer = ours.send(replace(beat, json={**beat.json, "version": version})).json["data"]
    assert (answer["viewers"], answer["total"]) == ([], 0)
    assert answer["version"] != version
    stream = ours.send(CASES["record_presence_events.events"], headers={"Last-Event-ID": version})
    chunks = iter(stream.response)
    assert b"event: snapshot" in next(chunks)
    stream.close()


# What is not asked who calls, and what goes wrong


@pytest.mark.parametrize("endpoint", OPEN)
def test_route_that_is_open_to_all_tells_of_no_tenant(make_app, endpoint):
    app = make_app()
    tenant = "tenant-of-the-others"
    visitor = Visitor(app, tenant, mark=MARK, user_id="user-of-the-others")
    visitor.visit(until=GOODBYE)
    Visitor(app, tenant, mark=MARK, user_id=43).visit()  # the tab is another's: 409

    with app.test_client().get(OPEN[endpoint]) as response:
        assert "of-the-others" not in response.text
        assert "of-the-others" not in str(response.headers)


def test_broken_record_of_one_tenant_is_an_error_for_that_tenant_alone(make_app, redis, caplog):
    app = make_app(redis)
    theirs, ours = Visitor(app, "1", mark=MARK), Visitor(app, "2")
    redis.set(Record("1", "flow", "12").viewers_key, "broken")
    alone = like(Visitor(make_app(), "2").visit())

    failure = failure_of(theirs.send(CASES["record_presence.viewers"]), 500)

    assert "tenant_" not in str(failure)
    assert like(ours.visit()) == alone


def test_log_of_what_goes_wrong_for_one_tenant_says_nothing_of_another(make_app, redis, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("presence"), "propagate", True)
    app = make_app(redis)
    visitor = Visitor(app, "tenant-of-the-others", mark=MARK, user_id="user-of-the-others")
    visitor.visit(until=GOODBYE)
    redis.set(Record("ours", "flow", "12").viewers_key, "broken")

    with caplog.at_level(logging.DEBUG):
        Visitor(app, "ours").visit()
        visitor.answer(CASES["record_presence.tabs"])

    assert "tenant_ours" in caplog.text
    assert "of-the-others" not in caplog.text + str([vars(record) for record in caplog.records])


def test_user_who_has_used_up_her_calls_leaves_all_of_them_to_her_namesake(make_app):
    app = make_app(rate_limit=parse("20/minute"), signal_rate_limit=parse("1/minute"))
    theirs, ours = Visitor(app, "1", mark=MARK), Visitor(app, "1_presence_calls:42")
    while theirs.send(CASES["record_presence.tabs"]).status_code == 200:
        pass
    theirs.send(CASES["record_presence.signal"])

    statuses = {status for status, _ in ours.visit().values()}

    assert 429 not in statuses
    failure_of(theirs.send(CASES["record_presence.tabs"]), 429)


# Names and keys

ODD_LETTERS = "1aA:{}[]*?%_ \n\x00é\ud800\ud801/.-~'\""
ODD = st.text(st.sampled_from(ODD_LETTERS) | st.characters(), min_size=1, max_size=12)
RECORDS = st.tuples(
    ODD,
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True),
)
USERS = st.integers() | ODD.filter(lambda text: not re.search("[\ud800-\udfff]", text))


def names_of(name):
    """Every key of a record, and its channel."""
    return set((record := Record(*name)).keys) | {record.channel}


@given(RECORDS, RECORDS)
@example(("1", "flow", "12"), ("1_record_presence:flow", "flow", "12"))
@example(("%3A", "flow", "1"), (":", "flow", "1"))
@example(("\ud800", "flow", "1"), ("\ud801", "flow", "1"))
def test_two_records_share_no_key(one, other):
    assume(one != other)

    assert not names_of(one) & names_of(other)


@given(RECORDS, RECORDS)
def test_keys_of_a_record_say_whose_they_are(one, other):
    for key in names_of(one):
        assert re.fullmatch(r"\{?tenant_[A-Za-z0-9_.~%-]+_record_presence:[a-z0-9_]+:[\w-]+(\}:\w+)?", key)
    if one[0] != other[0]:
        mine = f"tenant_{quote_tenant(one[0])}_record_presence:"
        assert not any(mine in key for key in names_of(other) if key.lstrip("{").startswith(mine))


@given(st.tuples(ODD, USERS), st.tuples(ODD, USERS), RECORDS)
def test_two_users_share_no_count_of_calls_and_no_record_is_one(one, other, record):
    def key(counts, tenant, user_id):
        throttle = Throttle(None, None, SETTINGS.rate_limit, one_slot=True, counts=counts)
        return throttle.quota(Caller(user_id, "", tenant)).key

    assume(one != other or type(one[1]) is not type(other[1]))
    keys = [key(counts, *user) for user in (one, other) for counts in ("calls", "signals")]

    assert len(set(keys)) == 4
    assert not set(keys) & names_of(record)


NO_TENANTS = ["", None, [], b"1", True, 1.5]


@pytest.mark.parametrize("tenant", NO_TENANTS, ids=repr)
def test_caller_without_a_tenant_can_not_be_made(tenant):
    with pytest.raises(ValueError, match="tenant"):
        Caller(42, "Alice", tenant)


def test_tenant_may_be_given_as_a_number():
    assert Caller(42, "Alice", 7).tenant == "7"


@pytest.mark.parametrize("tenant", NO_TENANTS, ids=repr)
def test_service_without_a_tenant_can_not_be_made(tenant):
    with pytest.raises(InvalidPresence):
        RecordPresenceService(None, tenant)
