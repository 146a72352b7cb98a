"""The bench's arithmetic, and that each of its parts still runs."""

import pytest

from tests.load import results
from tests.load.bench import PARTS, measure
from tests.load.crowd import Crowd
from tests.load.figures import Rounds, Table, at_least, at_most, verdict
from tests.load.parts import TINY, Effort
from tests.load.pipelined import Recorder
from tests.load.plots import MET, MISSED, draw
from tests.load.rounds import in_turns, interleaved
from tests.load.stopwatch import Stopwatch

# `start` needs minutes where nothing is installed yet; `million` has a test of its own.
QUICK_PARTS = sorted(set(PARTS) - {"start", "million", "cluster"})


def test_a_figure_is_the_median_of_its_rounds_with_their_spread():
    assert str(Rounds((7.0, 5.0, 5.5))) == "5.5 (5–7)"
    assert str(Rounds((1234.5,))) == "1,234"


def test_a_ratio_is_taken_round_by_round():
    slow_machine, quick_machine = 10.0, 1.0
    mine, floor = Rounds((2 * slow_machine, 2 * quick_machine)), Rounds((slow_machine, quick_machine))

    assert mine.over(floor).values == (2.0, 2.0)


def test_a_figure_without_a_round_is_refused():
    with pytest.raises(ValueError, match="needs a round"):
        Rounds(())


def test_rounds_of_all_measures_are_interleaved():
    order = []
    interleaved(2, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})

    assert order == ["a", "b", "a", "b"]


def test_what_is_measured_in_turns_is_first_as_often_as_the_other():
    order = []
    measure = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    measure()
    measure()

    assert order in (["b", "a", "a", "b"], ["a", "b", "b", "a"])


def test_a_goal_is_met_at_its_limit_and_missed_beyond():
    assert at_most(8, Rounds((8.0,))).is_met
    assert not at_most(8, Rounds((8.1,))).is_met
    assert at_least(0.5, Rounds((0.5,))).is_met
    assert not at_least(0.5, Rounds((0.49,))).is_met


def test_either_of_two_goals_is_enough():
    goal = at_most(8, Rounds((20.0,)), " µs") | at_most(1.5, Rounds((1.2,)), "× bare")

    assert str(goal) == "≤ 8 µs or ≤ 1.5× bare: met"


def test_a_goal_stands_beside_the_figure_that_it_judges():
    table = Table("Speed", ("call", "µs", "with a count, µs", "goal"))
    mine, other = Rounds((7.0,)), Rounds((16.0,))

    with pytest.raises(ValueError, match="Speed, heartbeat: ≤ 8 judges"):
        table.add("heartbeat", mine, other, at_most(8, mine))
    table.add("heartbeat", other, mine, at_most(8, mine))


def test_a_table_reads_well_and_counts_its_goals():
    table = Table("Speed", ("call", "µs", "goal"))
    table.add("quick", Rounds((7.0,)), at_most(8, Rounds((7.0,)), " µs"))
    table.add("slow", Rounds((9.0,)), at_most(8, Rounds((9.0,)), " µs"))
    table.add("sum", 16, None)

    assert table.markdown().splitlines()[2:] == [
        "| call  | µs | goal           |",
        "|-------|----|----------------|",
        "| quick | 7  | ≤ 8 µs: met    |",
        "| slow  | 9  | ≤ 8 µs: MISSED |",
        "| sum   | 16 |                |",
    ]
    assert verdict([table]) == "1 of 2 goals met. Missed: Speed, slow (≤ 8 µs)."


def test_a_part_replaces_its_own_results_and_keeps_the_others(tmp_path):
    path = tmp_path / "RESULTS.md"
    for part, title in (("redis", "old"), ("memory", "kept"), ("redis", "new")):
        results.keep(part, "what it measures", [Table(title, ("call",))], path=path)
    text = path.read_text("utf-8")

    assert text.index("### new") < text.index("### kept")
    assert "### old" not in text
    assert text.count("## redis:") == 1


def test_a_crowd_has_two_tabs_a_user_and_is_always_the_same():
    room = Crowd(seed=3).room(5)

    assert room == Crowd(seed=3).room(5)
    assert [room.index(next(tab for tab in room if tab.user == one.user)) for one in room] == [0, 0, 2, 2, 4]
    assert len({tab.id for tab in room}) == 5
    assert len({tab.record_id for tab in room}) == 1


def test_a_recorder_keeps_commands_until_they_are_taken():
    recorder = Recorder()
    assert recorder.execute_command("EVALSHA", "sha", 0, NEVER_DECODE=True)[0] == b"OK"

    assert recorder.take() == [("EVALSHA", "sha", 0)]
    assert recorder.take() == []


def test_a_stopwatch_gives_each_piece_the_time_without_those_inside_it():
    now_us = 0

    def work(us):
        nonlocal now_us
        now_us += us

    watch = Stopwatch(clock=lambda: now_us * 1000)
    inner = watch.timed("inner", lambda: work(3))

    def both():
        work(10)
        inner()

    watch.timed("outer", both)()

    assert watch.pieces() == {"inner": 3, "outer": 10}


def test_plot_shows_each_goal_and_how_much_of_its_limit_is_used(tmp_path):
    table = Table("Heartbeats", ("call", "µs", "goal", "a second", "goal"))
    quick, busy = Rounds((4.0, 5.0)), Rounds((50.0, 40.0))
    table.add("steady", quick, at_most(10, quick, " µs"), busy, at_least(90, busy))

    picture = draw("redis", [table], tmp_path).read_text("utf-8")

    assert [goal.used.median for _, goal in table.goals] == [0.45, 2.025]
    assert "Heartbeats, steady: ≤ 10 µs<" in picture
    assert "Heartbeats, steady: ≥ 90<" in picture
    assert MET in picture
    assert MISSED in picture
    assert draw("none", [Table("Empty", ("call",))], tmp_path) is None


def measured_once(part):
    """Again where the machine was so busy that the service refused a call: no figure would count then."""
    for _ in range(3):
        try:
            return measure(part, TINY)
        except RuntimeError as error:
            if "503" not in str(error):
                raise
    pytest.fail("the service refuses calls again and again")


@pytest.mark.timeout(900)  # on a busy machine
@pytest.mark.parametrize("part", QUICK_PARTS)
def test_part_runs(part):
    tables = measured_once(part)

    assert all(table.rows for table in tables)


def test_a_fiftieth_of_a_million_tabs_is_served_whole_and_leaves_nothing():
    beats, memory, expiry = measure("million", Effort(crowd=200, seconds=0.1))

    assert all(row[1] > 0 for row in beats.rows)
    assert memory.rows[0][0] == "20,000"
    assert expiry.rows[0][1] == 0
