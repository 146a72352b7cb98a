"""A Redis Cluster and a Sentinel of three for the tests: on free ports of 127.0.0.1, gone afterwards."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis as redis_py

from tests.redis_binary import redis_binary
from tests.waiting import START_SECONDS

SLOTS = 16_384


def free_port() -> int:
    """A port that nobody listens on, low enough for the bus of a Cluster, 10,000 above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        port = port % 20_000 + 20_000
        with contextlib.suppress(OSError):
            for each in (port, port + 10_000):
                socket.create_server(("127.0.0.1", each)).close()
            return port


class _Processes:
    """redis-server processes, by port, in a directory of their own."""

    def __init__(self) -> None:
        self._binary = redis_binary()
        self._directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *options: str, config: str | None = None, port: int | None = None) -> int:
        """Start one, on a free port unless one is named; returns its port once it answers."""
        while not self._is_started(started := port or free_port(), options, config):
            if port:
                self.close()
                raise RuntimeError(f"Redis did not start on port {port}")
        return started

    def _is_started(self, port: int, options: tuple[str, ...], config: str | None) -> bool:
        """False if it has ended: another test took the port meanwhile."""
        directory = self._directory / str(port)
        directory.mkdir(exist_ok=True)
        command = [self._binary]
        if config is not None:
            path = directory / "redis.conf"
            path.write_text(config)
            command.append(str(path))
        command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), *options]
        process = self._processes[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

        def is_decided() -> bool:
            return process.poll() is not None or self.client(port).info("server")["process_id"] == process.pid

        self.until(is_decided)
        return process.poll() is None

    def client(self, port: int) -> Any:
        return redis_py.Redis(port=port, decode_responses=True, socket_timeout=10)

    def until(self, is_true: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(redis_py.RedisError):
                if is_true():
                    return
            if time.monotonic() > deadline:
                self.close()
                raise RuntimeError("Redis was not ready in time")
            time.sleep(0.02)

    def kill(self, port: int) -> None:
        process = self._processes.pop(port)
        process.kill()
        process.wait()

    def close(self) -> None:
        for port in list(self._processes):
            self.kill(port)
        shutil.rmtree(self._directory, ignore_errors=True)


class RedisCluster(_Processes):
    """Three `primaries`, or more; `url` names all of them. A dead one leaves the others serving.

    With `replicas`, each has one, which takes its place: `replicas` of a primary's port.
    """

    def __init__(self, *, replicas: bool = False, primaries: int = 3) -> None:
        super().__init__()
        self.replicas: dict[int, int] = {}
        self.ports = [self._start_node() for _ in range(primaries)]
        for index, port in enumerate(self.ports):
            slots = range(SLOTS * index // primaries, SLOTS * (index + 1) // primaries)
            # One by one: ADDSLOTSRANGE came with Redis 7.
            self.client(port).execute_command("CLUSTER", "ADDSLOTS", *slots)
            self.client(port).execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for port in self.ports[1:]:
            self.client(port).execute_command("CLUSTER", "MEET", "127.0.0.1", self.ports[0])
        self.until(lambda: all(self._knows_all(port, primaries) for port in self.ports))
        if replicas:
            self._add_replicas()
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def _start_node(self, port: int | None = None) -> int:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--save", "")
        more = ("--cluster-require-full-coverage", "no", "--appendonly", "no")
        return self.start(*options, *more, "--repl-diskless-sync-delay", "0", port=port)

    def _add_replicas(self) -> None:
        for primary in self.ports:
            replica = self.replicas[primary] = self._start_node()
            self.client(replica).execute_command("CLUSTER", "MEET", "127.0.0.1", primary)
        nodes = [*self.ports, *self.replicas.values()]
        self.until(lambda: all(self._knows_all(port, len(nodes)) for port in nodes))
        for primary, replica in self.replicas.items():
            self.client(replica).execute_command("CLUSTER", "REPLICATE", self.id_of(primary))
        self.until(lambda: all(self._is_replica(port) for port in self.replicas.values()))

    def _is_replica(self, port: int) -> bool:
        state = self.client(port).info("replication")
        return (state["role"], state.get("master_link_status")) == ("slave", "up")

    def fail_over(self) -> None:
        """Each primary and its replica change places, one pair after the other, as for maintenance."""
        for primary, replica in self.replicas.items():
            # Not before the others have heard of the last one: they vote once in a while.
            self.until(lambda port=replica: self._is_promoted(port))
            self.until(lambda port=primary: self._is_replica(port))
        self.replicas = {replica: primary for primary, replica in self.replicas.items()}
        self.ports = list(self.replicas)

    def _is_promoted(self, port: int) -> bool:
        """Asks for it again where the others have not voted in time."""
        with contextlib.suppress(redis_py.ResponseError):  # it is a primary already
            self.client(port).execute_command("CLUSTER", "FAILOVER")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if self.client(port).role()[0] == "master":
                return True
            time.sleep(0.02)
        return False

    def id_of(self, port: int) -> str:
        """A node's name in the Cluster."""
        return self.client(port).execute_command("CLUSTER MYID")

    def _knows_all(self, port: int, count: int) -> bool:
        info = self.client(port).execute_command("CLUSTER INFO")
        return (info["cluster_state"], info["cluster_known_nodes"], info["cluster_slots_ok"]) == (
            "ok",
            str(count),
            str(SLOTS),
        )

    def move(self, key: str, to: int, hold_seconds: float = 0.0) -> None:
        """Move the slot of a key, with all that is in it, to another primary, as redis-cli does.

        For `hold_seconds` it lies between the two.
        """
        slot = self.client(self.ports[0]).execute_command("CLUSTER", "KEYSLOT", key)
        source, target = self.port_of(key), to
        self.client(target).execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.client(source).execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        time.sleep(hold_seconds)
        while keys := self.client(source).execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.client(source).execute_command("MIGRATE", "127.0.0.1", target, "", 0, 10_000, "KEYS", *keys)
        for port in (target, source, *self.ports):
            self.client(port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def port_of(self, key: str) -> int:
        """The primary that holds a key."""
        slot = self.client(self.ports[0]).execute_command("CLUSTER", "KEYSLOT", key)
        return next(
            port for index, port in enumerate(self.ports) if slot < SLOTS * (index + 1) // len(self.ports)
        )

    def restart(self, port: int) -> None:
        """Start a killed primary again; its slots and its peers are in its own file."""
        self._start_node(port)


class RedisSentinel(_Processes):
    """One primary, one replica and three Sentinels that call a silent primary down after a second."""

    def __init__(self) -> None:
        super().__init__()
        self.primary = self.start("--save", "", "--appendonly", "no")
        # Ready to take over at once, and without waiting for more replicas of the same data.
        replica = ("--replicaof", "127.0.0.1", str(self.primary), "--repl-diskless-sync-delay", "0")
        self.client(self.primary).config_set("repl-diskless-sync-delay", 0)
        self.replica = self.start("--save", "", "--appendonly", "no", *replica)
        self.until(lambda: self.client(self.replica).info("replication")["master_link_status"] == "up")
        self.sentinels = [
            self.start(
                "--sentinel",
                config=(
                    f"sentinel monitor main 127.0.0.1 {self.primary} 2\n"
                    "sentinel down-after-milliseconds main 1000\n"
                    "sentinel failover-timeout main 3000\n"
                ),
            )
            for _ in range(3)
        ]
        self.until(lambda: all(self._is_ready(port) for port in self.sentinels))
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/main/0"

    def _is_ready(self, port: int) -> bool:
        state = self.client(port).sentinel_master("main")
        return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)

    def fail_over(self) -> None:
        """Ask for it, as an operator does: again where the Sentinels of a busy machine miss the replica."""

        def has_begun() -> bool:
            try:
                self.client(self.sentinels[0]).execute_command("SENTINEL FAILOVER", "main")
            except redis_py.ResponseError as error:
                if "INPROG" not in str(error):
                    raise
            return True

        self.until(has_begun)
