"""`python -m tests.load.bench [part …]` measures, prints tables, and writes RESULTS.md with its plots.

Without a part: all but those that take long and must be named. Figures have
their goals beside them; a missed one does not fail the command.
"""

import argparse
import importlib
from dataclasses import dataclass, fields, replace

from tests.load.figures import Table, verdict
from tests.load.parts import Effort
from tests.load.plots import draw
from tests.load.results import keep


@dataclass(frozen=True, slots=True)
class Part:
    """One module of tests/load/parts."""

    module: str
    help: str
    by_name_only: bool = False


PARTS = {
    "redis": Part("redis_time", "Redis time of a heartbeat, a change and a list"),
    "memory": Part("memory", "bytes a tab, by size of the room"),
    "http": Part("http", "throughput and latency over HTTP, beside a route that does nothing"),
    "streams": Part("streams", "memory and delay of open streams, and what they take from heartbeats"),
    "timeline": Part("timeline", "heartbeats with the timeline on over off, and bytes an entry"),
    "million": Part("million", "a million open tabs in one Redis, and their end", by_name_only=True),
    "start": Part("start", "the second `make run`, and the memory of a process"),
    "profile": Part("profile", "where the time of a heartbeat goes, from socket to socket"),
}


def measure(name: str, effort: Effort) -> list[Table]:
    """Run one part."""
    return importlib.import_module(f"tests.load.parts.{PARTS[name].module}").run(effort)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load.bench",
        description="Measure, with the floor or the alternative beside each figure in the same run.",
        epilog="Parts: " + "; ".join(f"{name}: {part.help}" for name, part in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="default: all but million")
    for option in fields(Effort):
        parser.add_argument(f"--{option.name}", type=type(option.default), default=option.default)
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    names = options.parts or [name for name, part in PARTS.items() if not part.by_name_only]
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    effort = replace(Effort(), **{option.name: getattr(options, option.name) for option in fields(Effort)})

    tables: list[Table] = []
    for name in names:
        measured = measure(name, effort)
        tables += measured
        print("\n".join(table.markdown() for table in measured), flush=True)
        if not options.no_write:
            keep(name, PARTS[name].help, measured, draw(name, measured))
    print(verdict(tables))


if __name__ == "__main__":
    main()
