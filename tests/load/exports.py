"""Tables for programs: JSON with every round, CSV with a line a figure."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tests.load.figures import Goal, Rounds, Table

CSV_COLUMNS = ("part", "table", "row", "column", "median", "lowest", "highest", "rounds", "text")


def write_json(file: TextIO, made_with: Mapping[str, str], measured: Mapping[str, Iterable[Table]]) -> None:
    """One object: what it was made with, and by part its tables, whose rows have a cell a column.

    A cell is null, a number, a text, `{"median", "rounds": […]}` or `{"goal", "met"}`. A
    table of latencies also has `percentiles_ms`: by row, pairs of percent and milliseconds.
    """
    parts = {part: [_table(table) for table in tables] for part, tables in measured.items()}
    json.dump({"made_with": dict(made_with), "parts": parts}, file, ensure_ascii=False, indent=1)
    file.write("\n")


def write_csv(file: TextIO, measured: Mapping[str, Iterable[Table]]) -> None:
    """A line a cell, empty ones left out; a goal's text is what it is and whether it is met."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for part, tables in measured.items():
        for table in tables:
            for name, *cells in table.rows:
                for column, cell in zip(table.columns[1:], cells, strict=True):
                    if cell is not None:
                        writer.writerow((part, table.title, name, column, *_line(cell)))


def write_hgrm(folder: Path, measured: Mapping[str, Iterable[Table]]) -> None:
    """A file for each distribution of latencies, as HdrHistogram's plotter reads it, in milliseconds."""
    folder.mkdir(exist_ok=True)
    for part, tables in measured.items():
        for table in tables:
            for name, latency in table.latencies.items():
                stem = re.sub(r"\W+", "-", f"{part} {name}").strip("-")
                (folder / f"{stem}.hgrm").write_text(latency.hgrm(), "utf-8")


def _table(table: Table) -> dict[str, Any]:
    rows = [[_value(cell) for cell in row] for row in table.rows]
    exported = {"title": table.title, "note": table.note, "columns": list(table.columns), "rows": rows}
    if table.latencies:
        exported["percentiles_ms"] = {
            name: [list(step) for step in latency.percentiles()] for name, latency in table.latencies.items()
        }
    return exported


def _value(cell: object) -> Any:
    match cell:
        case Rounds():
            return {"median": cell.median, "rounds": list(cell.values)}
        case Goal():
            return {"goal": cell.text, "met": cell.is_met}
        case None | int() | float():
            return cell
    return str(cell)


def _line(cell: object) -> Iterator[object]:
    match cell:
        case Rounds():
            yield from (cell.median, min(cell.values), max(cell.values), len(cell.values), "")
        case int() | float():
            yield from (cell, cell, cell, 1, "")
        case _:
            yield from ("", "", "", "", str(cell))
