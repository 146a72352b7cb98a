"""claim: whoever waits for a field has it next, and nobody holds it while they are away."""

import json
from datetime import datetime

import pytest

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.limits import (
    MAX_WAITING,
    MAX_WAITING_BYTES,
    MAX_WAITING_BYTES_PER_USER,
    MAX_WAITING_PER_USER,
)
from tests.lua.commands import (
    DAY_MS,
    IDLE_MS,
    RECORD,
    Listener,
    age,
    claim,
    claimed,
    conflict_state,
    contents,
    heartbeat,
    leave,
    pass_time,
    read_viewers,
    save,
    set_clock_back,
    tabs,
    timeline,
    version,
    viewers,
    watch,
)

TABS = {"a1": (42, "Alice"), "b1": (43, "Bob"), "c1": (44, "Carol")}


def beat(redis, tab_id, **state):
    user, name = TABS[tab_id]
    return heartbeat(redis, tab_id, user, name=name, **{"mode": "edit", **state})


def ask(redis, tab_id, field="title", action="wait", **options):
    return claim(redis, tab_id, field, TABS[tab_id][0], action=action, **options)


def waiting(redis):
    """Field -> the tabs that wait for its claim, in their order."""
    return {
        field: [other["tab_id"] for other in held["waiting"]]
        for field, held in conflict_state(redis).claims.items()
        if "waiting" in held
    }


@pytest.fixture
def three(redis):
    """Alice has claimed the title; Bob and then Carol wait for it."""
    for tab_id in TABS:
        beat(redis, tab_id)
    ask(redis, "a1", action="claim")
    assert [ask(redis, tab_id)[0] for tab_id in ("b1", "c1")] == ["WAITING", "WAITING"]
    return redis


def let_be_away(redis, tab_id):
    beat(redis, tab_id, hidden=True)


def stay(redis, by_ms, **tabs_states):
    """Time passes, and everybody beats unchanged meanwhile."""
    while by_ms > 0:
        step_ms = min(30_000, by_ms)
        pass_time(redis, step_ms)
        by_ms -= step_ms
        for tab_id in tabs(redis):
            beat(redis, tab_id, **tabs_states.get(tab_id, {}))


# In turn


def test_two_who_ask_have_two_places_and_asking_again_changes_nothing(three):
    redis = three
    before = contents(redis)
    with Listener(redis) as listener:
        assert ask(redis, "b1")[:2] == ["WAITING", json.loads(redis.hget(RECORD.viewers_key, "#claims"))[0]]
        assert listener.messages() == []

    assert contents(redis) == before
    assert waiting(redis) == {"title": ["b1", "c1"]}


def test_first_who_waits_has_the_field_in_the_script_that_lets_it_go(three):
    redis = three
    known = version(redis)
    with Listener(redis) as listener:
        ask(redis, "a1", action="release", timeline_ms=DAY_MS)
        [message] = listener.messages()
    held = conflict_state(redis).claims["title"]

    assert (message["previous"], message["version"]) == (known, version(redis))
    assert [row[1] for row in message["claims"]] == ["b1"]
    assert [row[1] for row in message["waiting"]] == ["c1"]
    assert (held["tab_id"], held["passed_from"]) == ("b1", {"id": 42, "name": "Alice"})
    assert "taken_from" not in held
    assert [entry[0] for _, entry in timeline(redis)] == ["released", "claimed"]
    ask(redis, "b1", action="release")
    assert (claimed(redis), waiting(redis)) == ({"title": "c1"}, {})


@pytest.mark.parametrize("end", ["leaves", "expires", "is evicted"])
def test_field_of_a_tab_that_is_gone_goes_to_who_waits(three, end):
    redis = three
    if end == "expires":
        age(redis, "a1")
        read_viewers(redis)
    else:
        leave(redis, "a1", 42 if end == "leaves" else None)

    assert claimed(redis) == {"title": "b1"}
    assert conflict_state(redis).claims["title"]["passed_from"] == {"id": 42, "name": "Alice"}


def test_newcomer_does_not_overtake_who_waits_for_a_tab_that_nobody_has_swept(three):
    redis = three
    age(redis, "a1")

    status, row = ask(redis, "c1", action="claim")
    assert (status, row[1]) == ("CLAIMED", "b1")
    assert claimed(redis) == {"title": "b1"}


@pytest.mark.parametrize("end", ["leaves", "expires", "only views", "asks no longer"])
def test_tab_that_can_not_have_the_field_any_more_waits_no_longer(three, end):
    redis = three
    if end == "leaves":
        leave(redis, "b1", 43)
    elif end == "expires":
        age(redis, "b1")
        read_viewers(redis)
    elif end == "only views":
        beat(redis, "b1", mode="view")
    else:
        assert ask(redis, "b1", action="release")[0] == "OK"
    assert waiting(redis) == {"title": ["c1"]}

    ask(redis, "a1", action="release")
    assert claimed(redis) == {"title": "c1"}


def test_waiting_for_what_nobody_has_is_claiming_it(three):
    assert ask(three, "b1", "steps")[:1] == ["OK"]
    assert claimed(three) == {"title": "a1", "steps": "b1"}


def test_tab_that_is_gone_or_only_views_can_not_wait(three):
    redis = three
    leave(redis, "c1", 44)
    assert ask(redis, "c1") == ["ABSENT"]
    beat(redis, "c1", mode="view")
    assert ask(redis, "c1")[0] == "NOT_EDITING"
    assert waiting(redis) == {"title": ["b1"]}


def test_field_that_is_taken_over_keeps_its_queue(three):
    redis = three
    assert ask(redis, "c1", action="take")[0] == "OK"

    assert (claimed(redis), waiting(redis)) == ({"title": "c1"}, {"title": ["b1"]})
    ask(redis, "c1", action="release")
    assert claimed(redis) == {"title": "b1"}


# The holder


def test_holder_sends_away_who_waits_and_keeps_the_field(three):
    redis = three
    with Listener(redis) as listener:
        assert ask(redis, "a1", action="decline")[0] == "OK"
        [message] = listener.messages()

    assert [row[1] for row in message["claims"]] == ["a1"]
    assert "waiting" not in message
    assert (claimed(redis), waiting(redis)) == ({"title": "a1"}, {})


def test_nobody_else_sends_them_away(three):
    before = contents(three)

    assert ask(three, "c1", action="decline") == ["OK", ""]
    assert contents(three) == before


def test_holder_who_is_there_keeps_the_field_however_long_others_wait(three):
    stay(three, 3 * IDLE_MS)

    assert (claimed(three), waiting(three)) == ({"title": "a1"}, {"title": ["b1", "c1"]})


def test_field_of_a_holder_who_is_away_is_passed_on_by_an_unchanged_heartbeat(three):
    redis = three
    let_be_away(redis, "a1")
    stay(redis, IDLE_MS - 10_000, a1={"hidden": True})
    assert claimed(redis) == {"title": "a1"}
    pass_time(redis, 10_001)
    with Listener(redis) as listener:
        beat(redis, "c1")
        [message] = listener.messages()

    assert [row[1] for row in message["claims"]] == ["b1"]
    assert waiting(redis) == {"title": ["c1"]}
    beat(redis, "a1")  # comes back
    assert conflict_state(redis).claims["title"]["passed_from"] == {"id": 42, "name": "Alice"}


def test_everybody_is_told_when_the_field_passes_on_and_when_it_does_not_any_more(three):
    redis = three
    assert "passes_at" not in conflict_state(redis).claims["title"]
    with Listener(redis) as listener:
        let_be_away(redis, "a1")
        [message] = listener.messages()
    passes_at = datetime.fromisoformat(conflict_state(redis).claims["title"]["passes_at"]).timestamp() * 1000
    seconds, microseconds = redis.time()
    assert 0 <= seconds * 1000 + microseconds / 1000 + IDLE_MS - passes_at < 10_000
    assert [float(row[7]) for row in message["waiting"]] == [passes_at] * 2

    with Listener(redis) as listener:
        beat(redis, "a1")
        [message] = listener.messages()
    assert "passes_at" not in conflict_state(redis).claims["title"]
    assert [row[7] for row in message["waiting"]] == ["", ""]


def test_streams_are_told_when_to_look_again(three):
    redis = three
    stay(redis, 60_000)
    let_be_away(redis, "a1")
    for tab_id in ("b1", "c1"):
        beat(redis, tab_id, lease_ms=10 * IDLE_MS)
    heartbeat(redis, "a1", 42, mode="edit", hidden=True, lease_ms=10 * IDLE_MS)

    assert IDLE_MS - 5_000 < watch(redis)[2] <= IDLE_MS
    pass_time(redis, IDLE_MS)
    watch(redis, limit=0)
    assert claimed(redis) == {"title": "b1"}


def test_holder_who_comes_back_in_time_keeps_the_field(three):
    redis = three
    let_be_away(redis, "a1")
    stay(redis, IDLE_MS - 10_000, a1={"hidden": True})
    beat(redis, "a1")
    let_be_away(redis, "a1")
    stay(redis, IDLE_MS - 10_000, a1={"hidden": True})

    assert claimed(redis) == {"title": "a1"}


def test_clock_that_is_set_back_postpones_it_by_no_more_than_it_takes(three):
    redis = three
    let_be_away(redis, "a1")
    set_clock_back(redis)
    read_viewers(redis)
    stay(redis, IDLE_MS + 1_000, a1={"hidden": True})

    assert claimed(redis) == {"title": "b1"}


def test_unchanged_heartbeat_writes_nothing_while_somebody_waits(three):
    redis = three
    before = contents(redis)
    with Listener(redis) as listener:
        for tab_id in TABS:
            beat(redis, tab_id)
        assert listener.messages() == []

    assert {**contents(redis), RECORD.seen_key: None} == {**before, RECORD.seen_key: None}


def test_who_waits_is_no_viewer_and_a_save_leaves_the_queue(three):
    redis = three
    assert save(redis, 8, "title") == "OK"

    assert (len(viewers(redis)), read_viewers(redis)[3]) == (3, 3)
    assert waiting(redis) == {"title": ["b1", "c1"]}


# The whole record


def test_whole_record_and_its_fields_are_of_one_tab(three):
    redis = three
    status, row = ask(redis, "b1", "*", action="claim")
    assert (status, row[:2]) == ("CLAIMED", ["title", "a1"])
    assert ask(redis, "a1", "*", action="claim")[0] == "OK"
    status, row = ask(redis, "b1", "steps", action="claim")
    assert (status, row[:2]) == ("CLAIMED", ["*", "a1"])

    assert ask(redis, "c1", "steps", action="take")[0] == "OK"
    assert claimed(redis) == {"title": "a1", "steps": "c1"}


def test_who_waits_for_the_whole_record_waits_for_each_field_in_turn(three):
    redis = three
    ask(redis, "c1", "steps", action="claim")
    ask(redis, "b1", "*")
    assert waiting(redis) == {"title": ["b1", "c1", "b1"]}
    ask(redis, "a1", action="decline")
    ask(redis, "b1", "*")
    ask(redis, "a1", action="release")
    assert (claimed(redis), waiting(redis)) == ({"steps": "c1"}, {"steps": ["b1"]})
    ask(redis, "c1", "steps", action="release")

    assert claimed(redis) == {"*": "b1"}


def test_taking_the_whole_record_ends_all_claims_of_others(three):
    redis = three
    ask(redis, "c1", "steps", action="claim")
    ask(redis, "b1", action="release")

    assert ask(redis, "b1", "*", action="take")[0] == "OK"
    assert (claimed(redis), waiting(redis)) == ({"*": "b1"}, {"*": ["c1"]})


# Bounds


def crowd_that_waits(redis, users, each):
    heartbeat(redis, "holder", 1, mode="edit")
    for number in range(each):
        claim(redis, "holder", f"field {number}", 1)
    for user in range(100, 100 + users):
        heartbeat(redis, f"t{user}", user, mode="edit")
        for number in range(each):
            assert claim(redis, f"t{user}", f"field {number}", user, action="wait")[0] == "WAITING"


def stored_rows(redis):
    return json.loads(redis.hget(RECORD.viewers_key, "#waiting"))


def test_user_waits_twenty_times_at_most_and_fills_no_queue(redis):
    crowd_that_waits(redis, MAX_WAITING // MAX_WAITING_PER_USER, MAX_WAITING_PER_USER)
    assert len(stored_rows(redis)) == MAX_WAITING
    heartbeat(redis, "holder 2", 2, mode="edit")
    claim(redis, "holder 2", "one more", 2)
    heartbeat(redis, "late", 7, mode="edit")

    assert claim(redis, "t100", "one more", 100, action="wait")[0] == "TOO_MANY"
    assert claim(redis, "late", "one more", 7, action="wait")[0] == "WAITING"
    rows = stored_rows(redis)
    assert (len(rows), rows[-1][1]) == (MAX_WAITING, "late")
    assert sum(row[1] == "t100" for row in rows) == MAX_WAITING_PER_USER - 1


def test_long_names_wait_within_their_bytes(redis):
    wide = "\U0001f600" * 120
    heartbeat(redis, "holder", 1, mode="edit")
    for number in range(20):
        claim(redis, "holder", f"{wide}{number}", 1)
    for user in range(100, 110):
        heartbeat(redis, f"t{user}", user, name="\U0001f600" * 200, mode="edit")
        for number in range(20):
            claim(redis, f"t{user}", f"{wide}{number}", user, action="wait")
        of_user = [row for row in stored_rows(redis) if row[2] == str(user)]
        assert 0 < len(json.dumps(of_user, ensure_ascii=False).encode()) <= MAX_WAITING_BYTES_PER_USER

    assert redis.hstrlen(RECORD.viewers_key, "#waiting") <= MAX_WAITING_BYTES


def test_full_redis_refuses_to_let_anybody_wait_and_passes_the_field_on(full_redis):
    redis, fill = full_redis
    for tab_id in TABS:
        beat(redis, tab_id)
    ask(redis, "a1", action="claim")
    ask(redis, "b1")
    fill()
    before = contents(redis)

    with pytest.raises(StoreUnavailable):
        ask(redis, "c1")
    assert contents(redis) == before
    ask(redis, "a1", action="release")
    assert claimed(redis) == {"title": "b1"}
