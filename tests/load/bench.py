"""`python -m tests.load.bench [part …]` measures and prints tables; with `--write` they go to RESULTS.md.

Without a part: all but those that take long and must be named. Figures have
their goals beside them; a missed one does not fail the command.
"""

import argparse
import importlib
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TextIO

from tests.load.exports import write_csv, write_hgrm, write_json
from tests.load.figures import Table, verdict
from tests.load.machine import facts
from tests.load.parts import QUICK, Effort
from tests.load.plots import draw
from tests.load.progress import say, show
from tests.load.results import keep
from tests.load.workspace import workspace

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Part:
    """One module of tests/load/parts."""

    module: str
    help: str
    by_name_only: bool = False


PARTS = {
    "redis": Part("redis_time", "Redis time of a heartbeat, a change and a list"),
    "memory": Part("memory", "bytes a tab, by size of the room"),
    "http": Part("http", "throughput and latency over HTTP, beside routes that do nothing"),
    "rate": Part("rate", "latency at a given rate of arrivals, all percentiles"),
    "streams": Part("streams", "memory and delay of open streams, and what they take from heartbeats"),
    "fair": Part("fair", "how long heartbeats wait while their process is busy, and opening streams"),
    "timeline": Part("timeline", "heartbeats with the timeline on over off, and bytes an entry"),
    "cluster": Part("cluster", "CPU a change takes of all nodes of a Cluster, by their number"),
    "million": Part("million", "a million open tabs in one Redis, and their end", by_name_only=True),
    "start": Part("start", "the second `make run`, and the memory of a process"),
    "profile": Part("profile", "where the time of a heartbeat goes, from socket to socket"),
}


def measure(name: str, effort: Effort) -> list[Table]:
    """Run one part."""
    return importlib.import_module(f"tests.load.parts.{PARTS[name].module}").run(effort)


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    names = options.parts or [name for name, part in PARTS.items() if not part.by_name_only]
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    try:
        effort = _effort(options)
    except ValueError as error:
        parser.error(str(error))
    for path in (options.json, options.csv, options.hgrm):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.parent}")
    show()
    measured: dict[str, list[Table]] = {}
    with workspace():
        for name in names:
            measured[name] = _measure_aloud(name, effort)
            if STDOUT not in (options.json, options.csv):
                print("\n".join(table.markdown() for table in measured[name]), flush=True)
            if options.write:
                keep(name, PARTS[name].help, measured[name], draw(name, measured[name]))
    if options.json:
        with _opened(options.json) as file:
            write_json(file, facts(), measured)
    if options.csv:
        with _opened(options.csv) as file:
            write_csv(file, measured)
    if options.hgrm:
        write_hgrm(options.hgrm, measured)
    say(verdict(table for tables in measured.values() for table in tables))


def _measure_aloud(name: str, effort: Effort) -> list[Table]:
    say(f"{name}: {PARTS[name].help}")
    started = time.monotonic()
    tables = measure(name, effort)
    say(f"{name}: done in {time.monotonic() - started:.0f} s")
    return tables


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load.bench",
        description="Measure, with the floor or the alternative beside each figure in the same run. Tables "
        "go to stdout, progress to stderr. Ctrl-C and SIGTERM end what was started.",
        epilog="parts:\n" + "\n".join(f"  {name:<10}{part.help}" for name, part in PARTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="see below (default: all but million)")
    for option in fields(Effort):
        parser.add_argument(
            f"--{option.name}",
            type=int if type(option.default) is int else float,
            metavar="N",
            help=f"{option.metadata['help']} (default {option.metadata.get('default', option.default)})",
        )
    parser.add_argument(
        "--quick", action="store_true", help="about 3 minutes: less of all of it, and so a wider spread"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="every round of every figure; - is stdout")
    parser.add_argument(
        "--csv", metavar="FILE", type=Path, help="a line a figure: median, lowest, highest; - is stdout"
    )
    parser.add_argument(
        "--hgrm", metavar="FOLDER", type=Path, help="all percentiles, as HdrHistogram's plotter reads them"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the tables into RESULTS.md, with their plots"
    )
    return parser


def _effort(options: argparse.Namespace) -> Effort:
    base = QUICK if options.quick else Effort()
    given = {option.name: getattr(options, option.name) for option in fields(Effort)}
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _opened(path: Path) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if path == STDOUT else path.open("w", encoding="utf-8")


if __name__ == "__main__":
    main()
