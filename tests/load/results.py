"""RESULTS.md: what the bench measured last, a section a part."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.load.figures import Table, verdict

RESULTS = Path(__file__).with_name("RESULTS.md")
_LIBRARIES = ("gunicorn", "gevent", "flask", "marshmallow", "redis", "hiredis")
_INTRODUCTION = """# Results of the bench

Written by `make bench`; [README.md](README.md) says how to run it and how to read it. A figure is the
median of its rounds, with the lowest and the highest in brackets; the rounds of all figures of a table are
interleaved.
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
    python = sys.version.split()[0]
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"`make bench PARTS={part}` on {_cpu()}; Python {python}, Redis {_redis()}, {libraries}."


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} × {models[0]}" if models else "an unknown CPU"


def _redis() -> str:
    text = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", text)
    return found.group(1) if found else "?"
