"""RESULTS.md: a section a part, which `--write` puts in the place of the one before."""

import re
from pathlib import Path

from tests.load.figures import Table, verdict
from tests.load.machine import facts

RESULTS = Path(__file__).with_name("RESULTS.md")
_INTRODUCTION = """# Results of the bench

Written by `make bench WRITE=1`; [README.md](README.md) says how to run it and how to read it. A figure is
the median of its rounds, with the lowest and the highest in brackets; the rounds of all figures of a table
are interleaved.
"""


def keep(part: str, title: str, tables: list[Table], plot: Path | None = None, path: Path = RESULTS) -> None:
    """Put a part's section in the place of the one before; the other parts' stay."""
    text = path.read_text("utf-8") if path.exists() else ""
    _, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    heading = f"## {part}: {title}"
    section = "\n".join((f"{heading}\n\n{_measured_with(part)}\n", *(table.markdown() for table in tables)))
    if plot:
        section += f"\n![Share of each limit]({plot.relative_to(path.parent)})\n"
    section += f"\n{verdict(tables)}\n\n"
    kept = {entry.partition("\n")[0].split(":")[0]: entry for entry in sections}
    kept[heading.split(":")[0]] = section
    text = "\n\n".join(entry.strip() for entry in (_INTRODUCTION, *kept.values()))
    path.write_text(f"{text}\n", "utf-8")


def _measured_with(part: str) -> str:
    known = facts()
    commit, cpu = known.pop("commit"), known.pop("CPU")
    versions = ", ".join(f"{name} {version}" for name, version in known.items())
    return f"`make bench PARTS={part}` at {commit} on {cpu}; {versions}."
