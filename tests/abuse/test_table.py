"""The goals of `make abuse`, and how its table is kept."""

from dataclasses import replace

import pytest

from tests.abuse import table
from tests.abuse.attack import attack
from tests.abuse.attacker import Tally
from tests.abuse.honest import Service
from tests.abuse.measure import Outcome
from tests.abuse.service import Cost

QUIET = Service(median_ms=1, p99_ms=4, slowest_ms=5, beats=200, failed=0, slowest_event_ms=3)
CHEAP = Cost(redis_bytes=1, keys=1, keys_bytes=1, rss_bytes=1, slowest_script_ms=0)
HARMLESS = attack("Nothing", "nothing", {200})(lambda attacker: None)
OUTCOME = Outcome(HARMLESS, QUIET, QUIET, 0, 1.0, Tally(), CHEAP, [])


def test_attack_that_nobody_notices_meets_every_goal():
    assert table.misses(OUTCOME) == []
    assert table.row(OUTCOME).endswith("| ok |")


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"during": replace(QUIET, p99_ms=51)}, "p99 over 50 ms"),
        ({"during": replace(QUIET, p99_ms=13)}, "p99 3.2× quiet"),
        ({"during": replace(QUIET, failed=2)}, "2 of 200 honest beats failed"),
        ({"lost_streams": 1}, "the honest stream was lost"),
        ({"cost": replace(CHEAP, keys_bytes=10_000_001)}, "pinned over 10 MB a user"),
        ({"cost": replace(CHEAP, rss_bytes=40_000_001)}, "RSS over 40 MB"),
        ({"cost": replace(CHEAP, slowest_script_ms=10.5)}, "script over 10 ms"),
        ({"tally": Tally(largest_answer_bytes=2**20 + 1)}, "answer over 1 MB"),
        ({"tally": Tally(largest_error_bytes=2**13 + 1)}, "error over 8 KB"),
        ({"tally": Tally(got_through=["a forged save"])}, "GOT THROUGH: a forged save"),
    ],
)
def test_goal_that_is_missed_is_named(change, missed):
    assert missed in table.misses(replace(OUTCOME, **change))


def test_row_replaces_the_one_before_and_the_others_stay_in_their_order(tmp_path):
    path, titles = tmp_path / "RESULTS.md", ["A", "B", "C"]
    table.write(["| C | old |", "| A | old |"], titles, path)
    table.write(["| C | new |", "| B | new |"], titles, path)

    assert path.read_text("utf-8").splitlines()[-3:] == ["| A | old |", "| B | new |", "| C | new |"]
