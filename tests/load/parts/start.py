"""How soon `make run` answers, and what a process of the service takes of the memory."""

import os
import signal
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen

from tests.gunicorn_server import OURS, ROOT
from tests.load.figures import Rounds, Table, at_most
from tests.load.parts import Effort
from tests.load.processes import children, descendants, memory_mb
from tests.load.rounds import interleaved
from tests.redis_server import RedisServer

FIRST_START_SECONDS = 600.0  # pip may have to install


def run(effort: Effort) -> list[Table]:
    table = Table(
        "Start",
        ("how", "first answer, s", "goal", "RSS of a process, MB", "goal", "PSS, MB"),
        "`make run` the second time, until GET /health/ready is answered. RSS counts what the processes "
        "share in each of them, PSS once.",
    )
    redis = RedisServer()
    on_redis = {"REDIS_URL": f"unix://{redis.socket}", "WEB_CONCURRENCY": "2"}
    ways = {
        "embedded": {},
        "Redis, with the demo": {**on_redis, "PRESENCE_DEMO": "yes"},
        "Redis, as installed (no demo)": on_redis,
    }
    try:
        _start({})  # the first time installs
        measured = interleaved(
            effort.rounds, {way: lambda settings=settings: _start(settings) for way, settings in ways.items()}
        )
    finally:
        redis.close()
    for way, rounds in measured.items():
        seconds, rss_mb, pss_mb = (Rounds(values) for values in zip(*rounds, strict=True))
        table.add(way, seconds, at_most(3, seconds, " s"), rss_mb, at_most(80, rss_mb, " MB"), pss_mb)
    return [table]


def _start(settings: dict[str, str]) -> tuple[float, float, float]:
    """Seconds to the first answer; RSS and PSS of the largest worker, MB."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    port = _free_port()
    started = time.monotonic()
    process = subprocess.Popen(
        ["make", "--silent", "run"],
        cwd=ROOT,
        env={
            **inherited,
            "SECRET_KEY": "a secret of the bench, long enough",
            "PORT": str(port),
            **settings,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health/ready", process)
        seconds = time.monotonic() - started
        sizes = [memory_mb(pid) for pid in descendants(process.pid) if not children(pid)]
        return seconds, max(rss for rss, _ in sizes), max(pss for _, pss in sizes)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + FIRST_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.02)
    raise RuntimeError(f"make run did not start to answer (exit code {process.poll()})")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
