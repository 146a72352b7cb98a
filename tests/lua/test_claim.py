"""claim: a tab says that it works on a field, takes it over or lets it go."""

import json

import pytest

from record_presence.presence.limits import MAX_CLAIMS, MAX_CLAIMS_PER_USER, TAKE_OVER_INTERVAL_MS
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    MAX_BEYOND_MS,
    RECORD,
    Listener,
    age,
    beyond_leases_ms,
    claim,
    claimed,
    conflict_state,
    contents,
    heartbeat,
    key_named,
    leave,
    read_viewers,
    save,
    set_clock_back,
    stored_keys,
    timeline,
    version,
)


@pytest.fixture
def two_people(redis):
    heartbeat(redis, "a1", 42, mode="edit")
    heartbeat(redis, "b1", 43, name="Bob", mode="edit")
    return redis


def test_claim_says_who_has_the_field_in_which_tab_since_when(two_people):
    status, row = claim(two_people, "a1", "title", 42)
    held = conflict_state(two_people).claims["title"]

    assert status == "OK"
    assert row[:4] == ["title", "a1", "42", "Alice"]
    assert held.pop("since").endswith("+00:00")
    assert held == {"user": {"id": 42, "name": "Alice"}, "tab_id": "a1"}


def test_claim_changes_the_version_and_is_announced_with_all_there_are(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    known = version(redis)
    with Listener(redis) as listener:
        claim(redis, "b1", "steps", 43)
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, version(redis))
    assert message["version"] != known
    assert [row[:2] for row in message["claims"]] == [["title", "a1"], ["steps", "b1"]]
    assert not message["changes"]


def test_field_that_another_tab_has_is_not_given(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    before = contents(redis)
    with Listener(redis) as listener:
        status, row = claim(redis, "b1", "title", 43)
        assert listener.messages() == []

    assert (status, row[1]) == ("CLAIMED", "a1")
    assert contents(redis) == before


def test_other_tab_of_the_same_user_is_another_tab(redis):
    heartbeat(redis, "a1", 42, mode="edit")
    heartbeat(redis, "a2", 42, mode="edit")
    claim(redis, "a1", "title", 42)

    assert claim(redis, "a2", "title", 42)[0] == "CLAIMED"


def test_field_is_taken_over_and_says_from_whom(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    with Listener(redis) as listener:
        status, row = claim(redis, "b1", "title", 43, action="take")
        [message] = listener.messages()

    assert status == "OK"
    assert row[5:] == ["42", "Alice"]
    assert [row[:2] for row in message["claims"]] == [["title", "b1"]]
    assert conflict_state(redis).claims["title"]["taken_from"] == {"id": 42, "name": "Alice"}


def test_taking_a_field_that_nobody_has_takes_it_from_nobody(two_people):
    assert len(claim(two_people, "a1", "title", 42, action="take")[1]) == 5


def test_field_that_was_let_go_is_free(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    with Listener(redis) as listener:
        assert claim(redis, "a1", "title", 42, action="release") == ["OK", ""]
        [message] = listener.messages()

    assert not message["claims"]
    assert claimed(redis) == {}
    assert claim(redis, "b1", "title", 43)[0] == "OK"


@pytest.mark.parametrize("action", ["claim", "take"])
def test_claim_that_is_sent_again_changes_nothing(two_people, action):
    redis = two_people
    claim(redis, "b1", "title", 43)
    first = claim(redis, "a1", "title", 42, action="take", timeline_ms=DAY_MS)
    before = contents(redis)
    with Listener(redis) as listener:
        assert claim(redis, "a1", "title", 42, action=action, timeline_ms=DAY_MS) == first
        assert listener.messages() == []
    assert contents(redis) == before
    assert [entry[0] for _, entry in timeline(redis)] == ["claimed"]


def test_release_that_is_sent_again_releases_nobody_elses_claim(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    claim(redis, "a1", "title", 42, action="release")
    claim(redis, "b1", "title", 43)
    before = contents(redis)

    assert claim(redis, "a1", "title", 42, action="release") == ["OK", ""]
    assert contents(redis) == before


# Whose it is


@pytest.mark.parametrize("action", ["claim", "take", "release"])
@pytest.mark.parametrize("user", [43, "42"])
def test_tab_of_somebody_else_claims_and_releases_nothing(redis, action, user):
    heartbeat(redis, "a1", 42, mode="edit")
    claim(redis, "a1", "steps", 42)
    before = contents(redis)

    assert claim(redis, "a1", "steps", user, action=action) == ["TAB_TAKEN"]
    assert claim(redis, "a1", "title", user, action=action) == ["TAB_TAKEN"]
    assert contents(redis) == before


@pytest.mark.parametrize("action", ["claim", "take", "release"])
def test_tab_that_is_not_live_claims_nothing(two_people, action):
    redis = two_people
    claim(redis, "a1", "title", 42)
    age(redis, "b1")
    before = contents(redis)

    assert claim(redis, "b1", "title", 43, action=action) == ["ABSENT"]
    assert claim(redis, "never", "title", 43, action=action) == ["ABSENT"]
    assert contents(redis) == before


def test_claim_keeps_nobody_from_saving(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)

    assert save(redis, 8, "title", user=43, tab_id="b1") == "OK"
    assert claimed(redis) == {"title": "a1"}


# It ends with the tab


def test_claim_lasts_while_its_tab_beats(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    for _ in range(3):
        age(redis, "a1", LEASE_MS - 1_000)
        heartbeat(redis, "a1", 42, mode="edit")
        heartbeat(redis, "b1", 43, name="Bob", mode="edit")

    assert claimed(redis) == {"title": "a1"}


@pytest.mark.parametrize("end", ["left", "evicted", "expired"])
def test_claim_ends_with_its_tab_and_that_is_announced(two_people, end):
    redis = two_people
    claim(redis, "a1", "title", 42)
    claim(redis, "b1", "steps", 43)
    with Listener(redis) as listener:
        if end == "expired":
            age(redis, "a1")
            heartbeat(redis, "b1", 43, name="Bob", mode="edit")
        else:
            leave(redis, "a1", None, reason=end)
        [message] = listener.messages()

    assert [row[:2] for row in message["claims"]] == [["steps", "b1"]]
    assert claimed(redis) == {"steps": "b1"}


def test_no_answer_shows_a_claim_of_a_tab_whose_lease_is_over(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    known = version(redis)
    age(redis, "a1")

    assert heartbeat(redis, "b1", 43, name="Bob", known=known)[5] == ""
    claim(redis, "b1", "title", 43)
    age(redis, "b1")
    heartbeat(redis, "c1", 44, name="Carol")
    assert read_viewers(redis)[6] == ""


def test_claim_of_a_tab_that_is_gone_unnoticed_is_given_to_whoever_asks(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    age(redis, "a1")
    status, row = claim(redis, "b1", "title", 43)

    assert (status, row[1], len(row)) == ("OK", "b1", 5)  # taken from nobody
    assert claimed(redis) == {"title": "b1"}


def test_claim_ends_when_somebody_else_comes_with_the_tab_id(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    age(redis, "a1")
    heartbeat(redis, "a1", 44, name="Carol")

    assert claimed(redis) == {}


def test_claim_of_a_tab_that_comes_back_late_goes_on(two_people):
    """Nobody has noticed that its lease was over, so nobody was told that it had let go."""
    redis = two_people
    claim(redis, "a1", "title", 42)
    age(redis, "a1")
    heartbeat(redis, "a1", 42, mode="edit")

    assert claimed(redis) == {"title": "a1"}


def test_claims_are_forgotten_with_the_last_tab(redis):
    heartbeat(redis, "a1", 42, mode="edit")
    claim(redis, "a1", "title", 42)
    leave(redis, "a1", 42)

    assert stored_keys(redis) == []
    heartbeat(redis, "a1", 42, mode="edit")
    assert claimed(redis) == {}


# How many


def claim_many(redis, tab_id, user, count):
    for number in range(count):
        assert claim(redis, tab_id, f"{user}'s field {number}", user)[0] == "OK"


def test_user_claims_twenty_fields_in_all_of_their_tabs_and_no_more(two_people):
    redis = two_people
    heartbeat(redis, "a2", 42, mode="edit")
    claim_many(redis, "a1", 42, MAX_CLAIMS_PER_USER)
    claim(redis, "b1", "title", 43)
    before = contents(redis)

    assert claim(redis, "a2", "one more", 42) == ["TOO_MANY", ""]
    status, held = claim(redis, "a2", "title", 42, action="take")
    assert (status, held[1]) == ("TOO_MANY", "b1")
    assert contents(redis) == before
    assert claim(redis, "a2", "42's field 7", 42, action="take")[0] == "OK"
    claim(redis, "a1", "42's field 8", 42, action="release")
    assert claim(redis, "a2", "title", 42, action="take")[0] == "OK"


def test_colleague_can_always_claim_and_who_has_most_loses_their_oldest(two_people):
    redis = two_people
    heartbeat(redis, "a1", 42, mode="edit")
    claim(redis, "b1", "title", 43)
    for user in range(100, 104):
        heartbeat(redis, f"t{user}", user, mode="edit")
        claim_many(redis, f"t{user}", user, MAX_CLAIMS_PER_USER)
    claim_many(redis, "a1", 42, MAX_CLAIMS_PER_USER - 1)
    assert len(claimed(redis)) == MAX_CLAIMS

    with Listener(redis) as listener:
        assert claim(redis, "b1", "steps", 43, timeline_ms=DAY_MS)[0] == "OK"
        [message] = listener.messages()
    assert "100's field 0" not in claimed(redis)
    assert len(claimed(redis)) == len(message["claims"]) == MAX_CLAIMS
    assert [entry[0] for _, entry in timeline(redis)] == ["released", "claimed"]
    assert claim(redis, "t101", "one more", 101) == ["TOO_MANY", ""]


def test_user_who_claimed_a_hundred_fields_before_there_were_bounds_makes_room(two_people):
    redis = two_people
    rows = [[f"field {number}", "a1", "42", "Alice", "1700000000000"] for number in range(MAX_CLAIMS)]
    redis.hset(RECORD.viewers_key, "#claims", json.dumps(rows))

    assert claim(redis, "a1", "one more", 42) == ["TOO_MANY", ""]
    assert claim(redis, "b1", "title", 43)[0] == "OK"
    assert len(claimed(redis)) == MAX_CLAIMS
    assert "field 0" not in claimed(redis)


def test_claims_of_tabs_that_are_gone_unnoticed_make_room(two_people):
    redis = two_people
    heartbeat(redis, "a2", 42, mode="edit")
    claim_many(redis, "a1", 42, MAX_CLAIMS_PER_USER)
    age(redis, "a1")

    assert claim(redis, "a2", "one more", 42)[0] == "OK"
    assert claimed(redis) == {"one more": "a2"}


# Who may claim, and how often a field is taken over


@pytest.mark.parametrize("action", ["claim", "take"])
def test_tab_that_only_views_claims_nothing(two_people, action):
    redis = two_people
    claim(redis, "a1", "title", 42)
    heartbeat(redis, "v1", 44, name="Mallory")
    before = contents(redis)

    status, held = claim(redis, "v1", "title", 44, action=action)
    assert (status, held[1]) == ("NOT_EDITING", "a1")
    assert claim(redis, "v1", "steps", 44, action=action) == ["NOT_EDITING", ""]
    assert contents(redis) == before


def test_tab_that_stops_editing_can_still_release_its_field(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    heartbeat(redis, "a1", 42, mode="view")

    assert claim(redis, "a1", "title", 42, action="release") == ["OK", ""]
    assert claimed(redis) == {}


def let_claims_age(redis, by_ms):
    rows = json.loads(redis.hget(RECORD.viewers_key, "#claims"))
    for row in rows:
        row[4] = f"{row[4][: len(row[4]) - 13]}{int(row[4]) - by_ms}"
    redis.hset(RECORD.viewers_key, "#claims", json.dumps(rows))


def test_field_is_taken_over_once_in_five_seconds(two_people):
    redis = two_people
    heartbeat(redis, "c1", 44, name="Carol", mode="edit")
    claim(redis, "a1", "title", 42)
    claim(redis, "b1", "title", 43, action="take")
    before = contents(redis)

    status, held = claim(redis, "c1", "title", 44, action="take")
    assert (status, held[1]) == ("TAKEN_RECENTLY", "b1")
    assert contents(redis) == before
    let_claims_age(redis, TAKE_OVER_INTERVAL_MS)
    assert claim(redis, "c1", "title", 44, action="take")[0] == "OK"


def test_field_may_be_taken_back_at_once_and_then_not_be_taken_again(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    claim(redis, "b1", "title", 43, action="take")

    assert claim(redis, "a1", "title", 42, action="take")[0] == "OK"
    assert conflict_state(redis).claims["title"]["taken_from"] == {"id": 43, "name": "Bob"}
    for _ in range(3):
        status, held = claim(redis, "b1", "title", 43, action="take")
        assert (status, held[1]) == ("TAKEN_RECENTLY", "a1")
    let_claims_age(redis, TAKE_OVER_INTERVAL_MS)
    assert claim(redis, "b1", "title", 43, action="take")[0] == "OK"
    assert claim(redis, "a1", "title", 42, action="take")[0] == "OK"


# Eviction, expiry, memory, keys


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_claim_of_a_tab_that_was_evicted_ends_and_the_others_stay(two_people, lost):
    redis = two_people
    claim(redis, "a1", "title", 42)
    claim(redis, "b1", "steps", 43)
    redis.delete(key_named(lost))
    heartbeat(redis, "b1", 43, name="Bob", mode="edit")

    assert claimed(redis) == {"steps": "b1"}


def test_claims_that_were_evicted_are_gone_and_can_be_made_anew(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    redis.delete(RECORD.viewers_key)

    assert claim(redis, "b1", "title", 43)[0] == "OK"
    assert claimed(redis) == {"title": "b1"}


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_claim_after_an_eviction_finds_no_tab(two_people, lost):
    redis = two_people
    redis.delete(key_named(lost))

    assert claim(redis, "a1", "title", 42) == ["ABSENT"]


def test_clock_that_is_set_back_keeps_the_claim_no_longer_than_the_tab(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    set_clock_back(redis)
    heartbeat(redis, "b1", 43, name="Bob", mode="edit")
    assert claimed(redis) == {"title": "a1"}

    age(redis, "a1", LEASE_MS + 1)
    heartbeat(redis, "b1", 43, name="Bob", mode="edit")
    assert claimed(redis) == {}


def test_every_key_of_a_record_with_claims_ends_by_itself(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42, timeline_ms=2 * LEASE_MS)

    for key in (RECORD.tabs_key, RECORD.seen_key, RECORD.viewers_key):
        assert 0 <= beyond_leases_ms(redis, key) <= MAX_BEYOND_MS
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS
    assert len(stored_keys(redis)) == 4


def test_claim_ends_when_another_user_has_its_tab_in_a_broken_record(redis):
    """Its lease was over, nobody had swept it, and a field without a lease stood beside it."""
    heartbeat(redis, "a1", 42, mode="edit")
    claim(redis, "a1", "title", 42)
    redis.hset(RECORD.tabs_key, "by hand", "no JSON")
    age(redis, "a1")

    heartbeat(redis, "a1", 43, name="Bob")

    assert claimed(redis) == {}


def test_claim_outlives_the_loss_of_its_tabs_lease(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    redis.delete(RECORD.seen_key)

    heartbeat(redis, "a1", 42, mode="edit")
    assert claimed(redis) == {"title": "a1"}

    redis.delete(RECORD.seen_key)
    heartbeat(redis, "a1", 43)
    assert claimed(redis) == {}
