"""claim: a tab says that it works on a field, takes it over or lets it go."""

import pytest

from app.presence.errors import StoreUnavailable
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    MOST_BEYOND_MS,
    RECORD,
    Listener,
    age,
    beyond_leases_ms,
    claim,
    claimed,
    contents,
    heartbeat,
    leave,
    notes,
    read_viewers,
    save,
    saved_versions,
    set_clock_back,
    timeline,
    version,
)

MOST_CLAIMS = 100


@pytest.fixture
def two_people(redis):
    heartbeat(redis, "a1", 42)
    heartbeat(redis, "b1", 43, name="Bob")
    return redis


def test_claim_says_who_has_the_field_in_which_tab_since_when(two_people):
    status, row = claim(two_people, "a1", "title", 42)
    held = notes(two_people).claims["title"]

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
    heartbeat(redis, "a1", 42)
    heartbeat(redis, "a2", 42)
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
    assert notes(redis).claims["title"]["taken_from"] == {"id": 42, "name": "Alice"}


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
    heartbeat(redis, "a1", 42)
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
        heartbeat(redis, "a1", 42)
        heartbeat(redis, "b1", 43, name="Bob")

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
    heartbeat(redis, "a1", 42)

    assert claimed(redis) == {"title": "a1"}


def test_claims_are_forgotten_with_the_last_tab(redis):
    heartbeat(redis, "a1", 42)
    claim(redis, "a1", "title", 42)
    leave(redis, "a1", 42)

    assert redis.keys("*") == []
    heartbeat(redis, "a1", 42)
    assert claimed(redis) == {}


# How many


def test_a_hundred_fields_are_claimed_and_no_more(two_people):
    redis = two_people
    for number in range(MOST_CLAIMS):
        assert claim(redis, "a1", f"field {number}", 42)[0] == "OK"
    before = contents(redis)

    assert claim(redis, "a1", "one more", 42) == ["FULL"]
    assert claim(redis, "b1", "one more", 43, action="take") == ["FULL"]
    assert contents(redis) == before
    assert claim(redis, "b1", "field 7", 43, action="take")[0] == "OK"
    assert claim(redis, "a1", "field 7", 42, action="release")[0] == "OK"
    assert len(claimed(redis)) == MOST_CLAIMS


def test_claims_of_tabs_that_are_gone_unnoticed_make_room(two_people):
    redis = two_people
    for number in range(MOST_CLAIMS):
        claim(redis, "a1", f"field {number}", 42)
    age(redis, "a1")

    assert claim(redis, "b1", "one more", 43)[0] == "OK"
    assert claimed(redis) == {"one more": "b1"}


# Eviction, expiry, memory, keys


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_claim_of_a_tab_that_was_evicted_ends_and_the_others_stay(two_people, lost):
    redis = two_people
    claim(redis, "a1", "title", 42)
    claim(redis, "b1", "steps", 43)
    redis.delete(getattr(RECORD, f"{lost}_key"))
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
    redis.delete(getattr(RECORD, f"{lost}_key"))

    assert claim(redis, "a1", "title", 42) == ["ABSENT"]


def test_clock_that_is_set_back_keeps_the_claim_no_longer_than_the_tab(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    set_clock_back(redis)
    heartbeat(redis, "b1", 43, name="Bob", mode="edit")
    assert claimed(redis) == {"title": "a1"}

    age(redis, "a1", LEASE_MS + 1)
    heartbeat(redis, "b1", 43, name="Bob")
    assert claimed(redis) == {}


def test_every_key_of_a_record_with_claims_ends_by_itself(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42, timeline_ms=2 * LEASE_MS)

    for key in (RECORD.tabs_key, RECORD.seen_key, RECORD.viewers_key):
        assert 0 <= beyond_leases_ms(redis, key) <= MOST_BEYOND_MS
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS
    assert len(redis.keys("*")) == 4


@pytest.mark.parametrize(("action", "held"), [("claim", False), ("take", False), ("take", True)])
def test_full_redis_refuses_a_claim_whole(full_redis, action, held):
    redis, fill = full_redis
    for user, tab_id in ((42, "a1"), (43, "b1"), (44, "c1")):
        heartbeat(redis, tab_id, user)
    claim(redis, "c1", "steps", 44)
    if held:
        claim(redis, "b1", "title", 43)
    age(redis, "c1")
    before = contents(redis)
    fill()
    with Listener(redis) as listener:
        with pytest.raises(StoreUnavailable):
            claim(redis, "a1", "title", 42, action=action, timeline_ms=DAY_MS)

        assert listener.messages() == []
    assert contents(redis) == before
    assert not redis.exists(RECORD.timeline_key)


def test_claim_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    with strict_user() as redis:
        for user, tab_id in ((42, "a1"), (43, "b1")):
            heartbeat(redis, tab_id, user)
        for action in ("claim", "release", "claim"):
            claim(redis, "a1", "title", 42, action=action, timeline_ms=DAY_MS)
        claim(redis, "b1", "title", 43, timeline_ms=DAY_MS)
        claim(redis, "b1", "title", 43, action="take", timeline_ms=DAY_MS)
        save(redis, 8, "title")
        redis.delete(RECORD.viewers_key)
        claim(redis, "a1", "title", 42, timeline_ms=DAY_MS)
        age(redis, "a1")
        claim(redis, "b1", "title", 43, timeline_ms=DAY_MS)
        assert saved_versions(redis) == []
    assert set(real_redis.keys("*")) <= set(RECORD.keys)


def test_claim_ends_when_another_user_has_its_tab_in_a_broken_record(redis):
    """Its lease was over, nobody had swept it, and a field without a lease stood beside it."""
    heartbeat(redis, "a1", 42)
    claim(redis, "a1", "title", 42)
    redis.hset(RECORD.tabs_key, "by hand", "no JSON")
    age(redis, "a1")

    heartbeat(redis, "a1", 43, name="Bob")

    assert claimed(redis) == {}


def test_claim_outlives_the_loss_of_its_tabs_lease(two_people):
    redis = two_people
    claim(redis, "a1", "title", 42)
    redis.delete(RECORD.seen_key)

    heartbeat(redis, "a1", 42)
    assert claimed(redis) == {"title": "a1"}

    redis.delete(RECORD.seen_key)
    heartbeat(redis, "a1", 43)
    assert claimed(redis) == {}
