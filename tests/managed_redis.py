"""A managed Redis: one address, a primary and a replica behind it, and a failover that moves the address."""

from tests.faults.proxy import Proxy
from tests.redis_cluster import free_port
from tests.redis_server import RedisServer
from tests.waiting import wait_until


class ManagedRedis:
    """`url` leads to the primary. After `fail_over` it leads to the other server; the old one lives on as a
    replica, and keeps its connections."""

    def __init__(self) -> None:
        self._ports = free_port(), free_port()
        self.primary, self.replica = (RedisServer("--port", str(port)) for port in self._ports)
        self._follow(self.replica, self._ports[0])
        self.proxy = Proxy(self.primary.socket)
        self.url = f"redis://127.0.0.1:{self.proxy.port}"

    def _follow(self, server: RedisServer, port: int, *, is_awaited: bool = True) -> None:
        with self.primary.client() as one, self.replica.client() as other:
            for client in (one, other):
                client.config_set("repl-diskless-sync-delay", 0)
        with server.client() as client:
            client.replicaof("127.0.0.1", str(port))
            if is_awaited:
                wait_until(lambda: client.info("replication")["master_link_status"] == "up")

    def fail_over(self, *, is_isolated: bool = False) -> None:
        """Promote the replica. `is_isolated`: the old primary hears nothing of the new one."""
        with self.replica.client() as client:
            client.replicaof("NO", "ONE")
        self.proxy.upstream = self.replica.socket
        # Nobody listens on port 1.
        self._follow(self.primary, 1 if is_isolated else self._ports[1], is_awaited=not is_isolated)
        self.primary, self.replica = self.replica, self.primary
        self._ports = self._ports[::-1]

    def close(self) -> None:
        self.proxy.close()
        self.primary.close()
        self.replica.close()
