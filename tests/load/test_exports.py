"""What programs read: JSON with every round, CSV with a line a figure."""

import csv
import io
import json

from tests.load.exports import write_csv, write_hgrm, write_json
from tests.load.figures import Rounds, Table, at_most
from tests.load.latency import Latency


def measured():
    """A part with one table of one row."""
    figure = Rounds((7.0, 9.0, 8.0))
    table = Table("Speed", ("call", "ms", "goal", "share", "note"))
    table.add("heartbeat, steady", figure, at_most(8, figure, " ms"), 0.5, None)
    table.latencies["heartbeat, steady"] = Latency([0.001] * 99 + [0.25])
    return {"http": [table]}


def test_json_has_every_round_and_what_it_was_made_with():
    file = io.StringIO()
    write_json(file, {"commit": "abc"}, measured())
    exported = json.loads(file.getvalue())
    [table] = exported["parts"]["http"]

    assert exported["made_with"] == {"commit": "abc"}
    assert table["columns"] == ["call", "ms", "goal", "share", "note"]
    assert table["rows"] == [
        [
            "heartbeat, steady",
            {"median": 8.0, "rounds": [7.0, 9.0, 8.0]},
            {"goal": "≤ 8 ms", "met": True},
            0.5,
            None,
        ]
    ]
    percentiles = table["percentiles_ms"]["heartbeat, steady"]
    assert percentiles[0] == [0.0, 1.0]
    assert percentiles[-1][0] == 100.0


def test_csv_has_a_line_a_figure():
    file = io.StringIO()
    write_csv(file, measured())
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))

    assert [(line["row"], line["column"]) for line in lines] == [
        ("heartbeat, steady", column) for column in ("ms", "goal", "share")
    ]
    assert [lines[0][name] for name in ("median", "lowest", "highest", "rounds")] == [
        "8.0",
        "7.0",
        "9.0",
        "3",
    ]
    assert lines[1]["text"] == "≤ 8 ms: met"


def test_percentiles_are_written_as_the_plotter_of_hdrhistogram_reads_them(tmp_path):
    write_hgrm(tmp_path, measured())
    [path] = tmp_path.iterdir()
    lines = path.read_text("utf-8").splitlines()

    assert path.name == "http-heartbeat-steady.hgrm"
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert lines[2].split()[:2] == ["1.000", "0.000000000000"]
