"""How many processes are started: as many as there are processors that a container may use."""

import os

import pytest

from record_presence.server import cpus
from record_presence.server.cpus import available_cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine("0::/", {"cpu.max": "…"})`: one with 8 processors, this group and these files below /sys."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def make(groups, files):
        files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n", "utf-8")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "10000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "6400000 100000"}, 8),
        ("0::/pods/one", {"pods/cpu.max": "300000 100000", "pods/one/cpu.max": "max 100000"}, 3),
        ("0::/pods/one", {"pods/cpu.max": "max 100000", "pods/one/cpu.max": "100000 100000"}, 1),
        ("0::/of/the/machine", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/docker/a1", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "50000"}, 1),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("7:cpuset:/\n4:memory:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_quota_of_the_group_and_of_those_above_it_limits_the_processes(machine, groups, files, expected):
    assert available_cpus(machine(groups, files)) == expected


def test_processors_that_the_scheduler_forbids_do_not_count(machine, monkeypatch):
    root = machine("0::/", {"cpu.max": "400000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})

    assert available_cpus(root) == 1


def test_system_without_groups_has_all_its_processors(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cpus.os, "cpu_count", lambda: 5)

    assert available_cpus(tmp_path) == 5
