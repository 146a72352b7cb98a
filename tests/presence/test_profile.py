"""Pictures and words about a user: what of them is shown."""

import json

import pytest

from record_presence.presence.profile import make_profile
from record_presence.presence.viewers import AgentId

PICTURE = "https://example.com/alice%20a.png?size=32#x"
ABOUT = {"title": "Nurse", "team": "Ward 7"}


def shown(user_id=42, **claims):
    profile = make_profile(user_id, **claims)
    return profile and json.loads(profile.text)


def test_nobody_without_claims_has_a_profile():
    assert make_profile(42) is None


def test_profile_has_what_the_claims_say():
    assert shown(picture=PICTURE, about=ABOUT) == {"picture": PICTURE, "about": ABOUT}
    assert shown(AgentId("bot", 42, "Alice\n")) == {"for": "Alice "}


def test_one_profile_has_one_text():
    assert make_profile(42, about=ABOUT) == make_profile(42, about=dict(reversed(ABOUT.items())))
    assert make_profile(42, PICTURE) != make_profile(42, PICTURE + "x")


@pytest.mark.parametrize(
    "picture",
    [
        7,
        [],
        "",
        "http://example.com/a.png",
        "//example.com/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AA",
        "https://",
        "https://example.com/a b",
        "https://example.com/a.png\n",
        'https://example.com/"><script>',
        "https://example.com/\u202e",
        "https://example.com/" + "a" * 493,
    ],
)
def test_picture_that_is_no_short_https_url_is_left_out(picture):
    assert shown(picture=picture) is None


@pytest.mark.parametrize(
    "about",
    [
        "Nurse",
        ["Nurse"],
        {},
        {"title": 7},
        {"title": {"en": "Nurse"}},
        {"": "Nurse"},
        {"a\nb": "Nurse"},
        {str(number): "x" for number in range(9)},
        {"title": "x" * 508},
        {"x" * 100: "x" * 200, "y" * 100: "y" * 200},
        {"title": "🦊" * 127},
        {"x" * 129: "Nurse"},
    ],
)
def test_about_that_is_too_much_or_no_text_is_left_out(about):
    assert shown(about=about) is None


def test_texts_about_a_user_can_not_disturb_the_text_around_them():
    assert shown(about={"title": "Nur\u202ese\n!"}) == {"about": {"title": "Nurse !"}}
    assert shown(picture="https://example.com/" + "a" * 492) is not None
