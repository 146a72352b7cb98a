"""The faults: where the service runs, and what is done to it.

A fault's function runs in a thread of its own while people come and go. It
returns when the fault is over: from then on everything has to get right.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record_presence.presence.records import Record
from record_presence.presence.streaming.timings import SILENCE_TIMEOUT_SECONDS
from tests.faults.proxy import Proxy
from tests.gunicorn_server import GunicornServer
from tests.managed_redis import ManagedRedis
from tests.redis_cluster import RedisCluster, RedisSentinel
from tests.redis_server import RedisServer

RECORDS = 40
MUTE_SECONDS = (
    SILENCE_TIMEOUT_SECONDS + 2
)  # until a subscription that says nothing is given up, and made anew
HEAL_SECONDS = 5.0  # until nothing of a process is left on a primary that was demoted
CUT_SECONDS = 3.0  # until one that is cut again and again
FILLER_KEYS = 3_000  # what Redis has to load at its start
LOAD_DELAY_US = 1_000  # a key


def record_of(name: str) -> Record:
    return Record("1", "flow", name)


class Backend:
    """A Redis of the service's own; `records` are those that people open."""

    url: str
    records = [f"r{number}" for number in range(RECORDS)]

    def close(self) -> None:
        raise NotImplementedError


class Single(Backend):
    """One server."""

    def __init__(self, **environment: str) -> None:
        self.redis = RedisServer(**environment)
        self.url = f"unix://{self.redis.socket}"

    def close(self) -> None:
        self.redis.close()


class Proxied(Single):
    """One server behind a proxy."""

    def __init__(self) -> None:
        super().__init__()
        self.proxy = Proxy(self.redis.socket)
        self.url = f"redis://127.0.0.1:{self.proxy.port}"

    def close(self) -> None:
        super().close()
        self.proxy.close()


class Managed(Backend):
    """A primary and its replica behind one address."""

    def __init__(self) -> None:
        self.redis = ManagedRedis()
        self.url = self.redis.url

    def close(self) -> None:
        self.redis.close()


class Shifted(Single):
    """One server whose clock can be set."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="clock-")
        library, self._shift = (str(Path(self._directory.name, name)) for name in ("clock.so", "shift"))
        source = str(Path(__file__).with_name("clock_shift.c"))
        subprocess.run(["gcc", "-shared", "-fPIC", "-nostdlib", "-o", library, source], check=True)
        self.set_clock(0)
        super().__init__(LD_PRELOAD=library, CLOCK_SHIFT_FILE=self._shift)

    def set_clock(self, seconds: int) -> None:
        Path(f"{self._shift}.new").write_text(str(seconds))
        os.replace(f"{self._shift}.new", self._shift)

    def close(self) -> None:
        super().close()
        self._directory.cleanup()


class Sentinel(Backend):
    """A primary, a replica and three Sentinels."""

    def __init__(self) -> None:
        self.redis = RedisSentinel()
        self.url = self.redis.url

    def close(self) -> None:
        self.redis.close()


class Cluster(Backend):
    """Three primaries, each with a replica."""

    has_replicas = True

    def __init__(self) -> None:
        self.redis = RedisCluster(replicas=self.has_replicas)
        self.url = self.redis.url

    def close(self) -> None:
        self.redis.close()


class ClusterWithoutReplicas(Cluster):
    """Three primaries; nobody has a record of the first one open."""

    has_replicas = False

    def __init__(self) -> None:
        super().__init__()
        names = (f"r{number}" for number in range(10 * RECORDS))
        elsewhere = [name for name in names if self.port_of(name) != self.redis.ports[0]]
        self.records = elsewhere[:RECORDS]

    def port_of(self, name: str) -> int:
        return self.redis.port_of(record_of(name).tabs_key)


@dataclass
class Stage:
    """A service with its Redis, and people in it."""

    backend: Any
    gunicorn: GunicornServer
    hold_seconds: float  # how long a fault lasts that lasts
    is_short: bool
    crowd_in: Callable[[int], None]


@dataclass(frozen=True)
class Fault:
    """What may come of a fault.

    `loses`: what is lost comes back with the next heartbeats, and not before.
    `undoes`: Redis comes back as it was a moment before: a user who came since is missing
    until their next heartbeat, and a tab that said goodbye has its lease again.
    `cuts`: connections end with their process.
    `stream_lag_seconds`: how late an event may be.
    `ghost_leases`: how many leases a ghost may last, where `why` says why it is more than one.
    `hands_over`: fields are handed over all the time as well.
    """

    name: str
    title: str
    backend: Callable[[], Any]
    inject: Callable[[Stage], None]
    loses: bool = False
    undoes: bool = False
    cuts: bool = False
    stream_lag_seconds: float = 1.0  # on a machine that is busy
    ghost_leases: int = 1
    why: str = ""
    hands_over: bool = False
    is_short: bool = True  # stands in the short form; else a test of its own, elsewhere, shows the most of it


def nothing(stage: Stage) -> None:
    time.sleep(stage.hold_seconds)


def restart_empty(stage: Stage) -> None:
    stage.backend.redis.kill()
    time.sleep(0.5)
    stage.backend.redis.start()


def restart_slowly(stage: Stage) -> None:
    redis = stage.backend.redis
    keys = FILLER_KEYS // 3 if stage.is_short else FILLER_KEYS
    with redis.client() as client:
        client.mset({f"filler:{number}": number for number in range(keys)})
        client.save()
    redis.kill()
    redis.start("--key-load-delay", str(LOAD_DELAY_US), "--loading-process-events-interval-bytes", "1024")


def flush_scripts(stage: Stage) -> None:
    with stage.backend.redis.client() as client:
        for _ in range(20):
            client.script_flush()
            time.sleep(stage.hold_seconds / 20)


def stop_redis(stage: Stage) -> None:
    stage.backend.redis.signal(signal.SIGSTOP)
    time.sleep(stage.hold_seconds)
    stage.backend.redis.signal(signal.SIGCONT)


def cut_answers(stage: Stage) -> None:
    _harm(stage, "cut")


def lose_answers(stage: Stage) -> None:
    _harm(stage, "lose")


def _harm(stage: Stage, harm: str) -> None:
    stage.backend.proxy.harm = harm
    time.sleep(stage.hold_seconds)
    stage.backend.proxy.harm = None


def fail_over(stage: Stage) -> None:
    """Until the old primary is a replica: what it is told before, nobody knows afterwards."""
    redis = stage.backend.redis
    redis.fail_over()
    redis.until(lambda: redis.client(redis.primary).role()[0] == "slave")


def move_address(stage: Stage) -> None:
    stage.backend.redis.fail_over()


def kill_primary(stage: Stage) -> None:
    stage.backend.redis.kill(stage.backend.redis.primary)


def kill_cluster_primary(stage: Stage) -> None:
    stage.backend.redis.kill(stage.backend.redis.ports[0])


def promote_replicas(stage: Stage) -> None:
    stage.backend.redis.fail_over()


def kill_primary_of_others(stage: Stage) -> None:
    dead = stage.backend.redis.ports[0]
    stage.backend.redis.kill(dead)
    time.sleep(stage.hold_seconds * 2)


def move_slots(stage: Stage) -> None:
    redis = stage.backend.redis
    for name in stage.backend.records[:10]:
        key = record_of(name).tabs_key
        target = redis.ports[(redis.ports.index(redis.port_of(key)) + 1) % 3]
        redis.move(key, target)
        time.sleep(stage.hold_seconds / 10)


def fill_memory(stage: Stage) -> None:
    with stage.backend.redis.client() as client:
        client.config_set("maxmemory", 1)
        time.sleep(stage.hold_seconds)
        client.config_set("maxmemory", 0)


def evict_viewers(stage: Stage) -> None:
    with stage.backend.redis.client() as client:
        for name in stage.backend.records[:10]:
            client.delete(record_of(name).viewers_key)


def evict_tabs(stage: Stage) -> None:
    with stage.backend.redis.client() as client:
        for number, name in enumerate(stage.backend.records[:10]):
            record = record_of(name)
            client.delete(record.tabs_key if number % 2 else record.seen_key)


def set_clock_back(stage: Stage) -> None:
    stage.backend.set_clock(-3600)


def set_clock_ahead(stage: Stage) -> None:
    stage.backend.set_clock(3600)


def kill_process(stage: Stage) -> None:
    os.kill(stage.gunicorn.worker_pids()[0], signal.SIGKILL)


def reload_processes(stage: Stage) -> None:
    stage.gunicorn.signal(signal.SIGHUP)


def crowd_comes_back(stage: Stage) -> None:
    stage.crowd_in(150 if stage.is_short else 5_000)


FAULTS = [
    Fault("none", "no fault", Single, nothing, is_short=False),
    Fault("restart", "Redis killed, back empty after 0.5 s", Single, restart_empty, loses=True),
    Fault("loading", "Redis killed, loads its data for 3 s", Single, restart_slowly, undoes=True),
    Fault("flush", "SCRIPT FLUSH, 20 times", Single, flush_scripts, is_short=False),
    Fault("stop", "Redis stopped for 5 s", Single, stop_redis),
    Fault(
        "cut",
        "a third of Redis's answers cut for 5 s",
        Proxied,
        cut_answers,
        stream_lag_seconds=CUT_SECONDS,
    ),
    Fault(
        "lose",
        "a third of Redis's answers lost for 5 s",
        Proxied,
        lose_answers,
        stream_lag_seconds=MUTE_SECONDS,
    ),
    Fault(
        "failover", "Sentinel: planned failover", Sentinel, fail_over, loses=True, undoes=True, is_short=False
    ),
    Fault(
        "handover",
        "Sentinel: planned failover while fields are handed over",
        Sentinel,
        fail_over,
        loses=True,
        undoes=True,
        hands_over=True,
        is_short=False,
    ),
    Fault(
        "address",
        "managed Redis: the address moves, the old primary keeps its clients",
        Managed,
        move_address,
        loses=True,
        undoes=True,
        stream_lag_seconds=HEAL_SECONDS,
        is_short=False,
    ),
    Fault("crash", "Sentinel: primary killed", Sentinel, kill_primary, undoes=True),
    Fault("cluster", "Cluster: a primary with a replica killed", Cluster, kill_cluster_primary, undoes=True),
    Fault("promote", "Cluster: planned failover of every primary", Cluster, promote_replicas, is_short=False),
    Fault("slots", "Cluster: ten slots in use moved", Cluster, move_slots, is_short=False),
    Fault(
        "others",
        "Cluster: primary of other slots dead",
        ClusterWithoutReplicas,
        kill_primary_of_others,
        is_short=False,
    ),
    Fault("memory", "maxmemory reached for 5 s, noeviction", Single, fill_memory),
    Fault("viewers", "viewers key of ten records evicted", Single, evict_viewers),
    Fault("tabs", "tabs or seen key of ten records evicted", Single, evict_tabs, loses=True),
    Fault(
        "back",
        "Redis's clock set back an hour",
        Shifted,
        set_clock_back,
        ghost_leases=2,
        why="nobody can tell by how much the clock has moved: a lease that lies too far ahead is cut "
        "to a whole one",
    ),
    Fault("ahead", "Redis's clock set ahead an hour", Shifted, set_clock_ahead, loses=True),
    Fault("process", "one gunicorn process killed", Single, kill_process, cuts=True),
    Fault("reload", "gunicorn reloaded (SIGHUP)", Single, reload_processes, cuts=True, is_short=False),
    Fault("crowd", "5,000 more clients at once", Single, crowd_comes_back, stream_lag_seconds=5.0),
]
