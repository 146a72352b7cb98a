"""The closed-loop load generator: wrk, with requests that are written down beforehand."""

import contextlib
import json
import math
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEAT = Path(__file__).with_name("beat.lua")
CONNECTIONS = 16


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
