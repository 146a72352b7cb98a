"""How many processors this process may use, which in a container is less than the machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> int:
    """At least 1: what the scheduler allows, and no more than the quota of the control groups, rounded up.

    `root` is where /proc and /sys lie. A group without a quota, and a system without groups, allow all.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cpus = os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """In processors, of this process's group and of every group above it; of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, read = root / "sys/fs/cgroup", _quota_of_version_2
        elif "cpu" in controllers.split(","):
            mount, read = root / "sys/fs/cgroup/cpu", _quota_of_version_1
        else:
            continue
        # In a container, the path is often that of the machine, and what is mounted is the group itself.
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if (quota := read(folder)) is not None:
                yield quota
            if folder == mount:
                break


def _quota_of_version_2(folder: Path) -> float | None:
    text = _read(folder / "cpu.max")  # "150000 100000" or "max 100000"
    quota, _, period = text.partition(" ")
    return _ratio(quota, period)


def _quota_of_version_1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))  # -1: none


def _ratio(quota: str, period: str) -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
