"""The servers that are measured, each in a process of its own, and the generator."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.gunicorn_server import CONFIG, OURS, ROOT, GunicornServer

BEAT = Path(__file__).with_name("beat.lua")
CONNECTIONS = 16
PROCESSES = 2
_KIB_A_MB = 1000**2 / 1024
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Service(GunicornServer):
    """gunicorn with the service, or with it and the floor's route: `tests.load.floor:app`."""

    def __init__(self, application: str = "wsgi:app", **settings: str) -> None:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as we live
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                f"python:{CONFIG}",
                application,
            ],
            cwd=ROOT,
            env={**inherited, "PORT": "0", **settings},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.url = self._wait_until_it_answers()

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def cpu_seconds(self) -> float:
        """CPU time that the workers have used."""
        return sum(cpu_seconds(pid) for pid in self.workers)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process: the first counts what it shares with others whole, the second its part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    kib = {name: int(number) for name, number in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
    return kib["Rss"] / _KIB_A_MB, kib["Pss"] / _KIB_A_MB


@dataclass(frozen=True, slots=True)
class Answered:
    """What the generator counted in one go."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def a_second(self) -> float:
        return self.requests / self.seconds


class Generator:
    """wrk: one thread, 16 connections, the requests written down beforehand."""

    def __init__(self, url: str) -> None:
        self._binary = shutil.which("wrk")
        if self._binary is None:
            raise RuntimeError("wrk is not installed, and this part needs it: apt-get install wrk")
        self._url = url
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")

    def write(self, name: str, requests: Iterable[bytes]) -> Path:
        """Keep requests for `send`."""
        path = Path(self._directory.name, f"{name}.requests")
        path.write_bytes(b"\0".join(requests))
        return path

    def send(
        self, requests: Path, seconds: float, connections: int = CONNECTIONS, pause_ms: int = 0
    ) -> Answered:
        """Send them for so long, each connection as soon as it is answered, or after a pause (the mean).

        Raises RuntimeError when one of them was not answered well.
        """
        command = [self._binary, "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "-s", str(BEAT)]
        command += [self._url, "--", str(requests), str(pause_ms)]
        output = _output_of(command, interrupt_after_seconds=max(0.5, seconds) if seconds < 1 else None)
        line = next(line for line in output.splitlines() if line.startswith("RESULT "))
        result = json.loads(line.removeprefix("RESULT "))
        if result["refused"] or result["failed"]:
            raise RuntimeError(f"{requests.stem}: {line}")
        return Answered(
            result["requests"], result["microseconds"] / 1e6, result["p50"] / 1000, result["p99"] / 1000
        )

    def close(self) -> None:
        self._directory.cleanup()


def _output_of(command: list[str], *, interrupt_after_seconds: float | None) -> str:
    """What wrk prints; it knows whole seconds alone, and says what it has counted when it is interrupted."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if interrupt_after_seconds is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(interrupt_after_seconds)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return output


def http_request(method: str, path: str, headers: dict[str, str], body: dict | None = None) -> bytes:
    """A request as it goes over the wire, on a connection that stays."""
    text = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    headers = {"Host": "127.0.0.1", "User-Agent": "bench", "Accept": "*/*", **headers}
    if body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(text))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + text
