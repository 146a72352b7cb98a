"""Processes of this machine: what they use, and which a process has started. Reads /proc."""

import os
import re
from pathlib import Path

_KIB_A_MB = 1000**2 / 1024
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process: the first counts what it shares with others whole, the second its part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    kib = {name: int(number) for name, number in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
    return kib["Rss"] / _KIB_A_MB, kib["Pss"] / _KIB_A_MB


def children(pid: int) -> list[int]:
    """Those that a process has started itself; none where it has ended."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text("utf-8").split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Its children, and theirs."""
    return [found for child in children(pid) for found in (child, *descendants(child))]
