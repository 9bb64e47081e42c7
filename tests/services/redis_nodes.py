"""Several Valkey servers on loopback that stand for one another: a cluster, and Sentinels with their servers.

Enters: how many of each. Leaves: `settings`, by which an engine finds them, and servers that may fail over, lose what
they wrote last, and take slots over from each other.
Holds: when a method that harms returns, every server runs again and each primary has a replica that follows it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.cluster import ClusterNode, RedisCluster

from tests.services.process import ServiceError, free_port
from tests.services.redis import RedisServer

SLOTS = 16_384
NODE_TIMEOUT_MS = 2_000
SERVICE = "engage-primary"
WITHIN_S = 120.0
WRONG = "no-such-password"  # what a replica gives that is to follow no more


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise ServiceError(f"after {WITHIN_S:g} s: {what} still does not hold")
        time.sleep(0.05)


class Nodes:
    """Servers; a `primary` of them is named by its place."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self._asked = {server.port: redis.Redis(port=server.port, socket_timeout=10) for server in servers}

    def ask(self, server: RedisServer, *command: object, **options: Any) -> Any:
        return self._asked[server.port].execute_command(*command, **options)

    def start(self) -> Self:
        """A start that fails leaves none running."""
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def _join(self) -> None:
        """Make of the running servers what they are to be, unless they are."""
        raise NotImplementedError

    def stop(self) -> None:
        for asked in self._asked.values():
            asked.close()
        for server in self.servers:
            server.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- roles ------------------------------------------------------------------------------------

    def _replication(self, server: RedisServer) -> dict[str, Any]:
        found: dict[str, Any] = self._asked[server.port].info("replication")
        return found

    def primaries(self, but: RedisServer | None = None) -> list[RedisServer]:
        asked = [server for server in self.servers if server.running and server is not but]
        return [server for server in asked if self._replication(server)["role"] == "master"]

    def replicas(self, primary: RedisServer) -> list[RedisServer]:
        return [
            server
            for server in self.servers
            if server.running
            and (said := self._replication(server))["role"] == "slave"
            and said["master_port"] == primary.port
        ]

    def _followed(self, server: RedisServer) -> bool:
        """Whether a replica has all that it says."""
        return any(self._replication(replica)["master_link_status"] == "up" for replica in self.replicas(server))

    def whole(self) -> bool:
        raise NotImplementedError

    def replicated(self, primary: RedisServer) -> None:
        """Returns once its replicas have what was written so far."""
        until(
            lambda: all(
                self._replication(replica)["slave_repl_offset"] >= self._replication(primary)["master_repl_offset"]
                for replica in self.replicas(primary)
            ),
            "the replicas have everything",
        )

    # -- harm -------------------------------------------------------------------------------------

    def fail(self, primary: RedisServer) -> None:
        """SIGKILL; a replica takes its place."""
        primary.kill()
        until(lambda: self._taken_over(primary), f"a replica took {primary.port} over")

    def restart(self, server: RedisServer) -> None:
        """After it failed: as a replica of the one that took its place. From the main thread alone (process.py)."""
        server.start()
        until(self.whole, "all servers are as they should be")

    def resume(self, primary: RedisServer) -> None:
        """A primary that was paused, once another has taken its place."""
        until(lambda: self._taken_over(primary), f"a replica took {primary.port} over")
        primary.resume()
        until(self.whole, "all servers are as they should be")

    def _taken_over(self, primary: RedisServer) -> bool:
        """Asks no server that is `primary`: it is dead or paused."""
        raise NotImplementedError

    @contextlib.contextmanager
    def deaf_replicas(self, primary: RedisServer) -> Iterator[None]:
        """They follow no more: who takes over within has lost what was written meanwhile."""
        replicas = self.replicas(primary)
        for replica in replicas:
            self.ask(replica, "CONFIG", "SET", "primaryauth", WRONG)
            self.ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        until(
            lambda: all(self._replication(replica)["master_link_status"] == "down" for replica in replicas),
            "the replicas follow no more",
        )
        yield
        for replica in replicas:
            self.ask(replica, "CONFIG", "SET", "primaryauth", "")


class Cluster(Nodes):
    """Three primaries with a replica each, at first."""

    def __init__(self, directory: Path, primaries: int = 3) -> None:
        config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-replica-validity-factor": "0",  # a replica that is behind takes over, too
            "cluster-allow-replica-migration": "no",
            "repl-diskless-sync-delay": "0",
        }
        super().__init__(
            [
                # between themselves they use a further port, by default one of the ephemeral range
                RedisServer(directory / f"node-{number}", config={**config, "cluster-port": str(free_port())})
                for number in range(2 * primaries)
            ]
        )
        self._primaries = primaries

    @property
    def settings(self) -> dict[str, str]:
        servers = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return {"redis": f"redis://{servers}/0", "redis_mode": "cluster"}

    def client(self) -> RedisCluster:
        nodes = [ClusterNode("127.0.0.1", server.port) for server in self.servers]
        return RedisCluster(startup_nodes=nodes, socket_timeout=5)

    def _join(self) -> None:
        first, *others = self.servers
        if self.whole():
            return
        for number, server in enumerate(self.servers):
            self.ask(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for server in others:
            self.ask(first, "CLUSTER MEET", "127.0.0.1", server.port, server.config["cluster-port"])
        until(
            lambda: all(self._info(server)["cluster_known_nodes"] == str(len(self.servers)) for server in self.servers),
            "all nodes know each other",
        )
        for number, server in enumerate(self.servers):
            if number < self._primaries:
                first_slot, end = (SLOTS * n // self._primaries for n in (number, number + 1))
                self.ask(server, "CLUSTER ADDSLOTSRANGE", first_slot, end - 1)
            else:
                self.ask(server, "CLUSTER REPLICATE", self.id(self.servers[number - self._primaries]))
        until(self.whole, "the cluster is whole")

    def id(self, server: RedisServer) -> str:
        found: bytes = self.ask(server, "CLUSTER MYID")
        return found.decode()

    def _info(self, server: RedisServer) -> dict[str, str]:
        found: dict[str, str] = self._asked[server.port].cluster("INFO")
        return found

    def whole(self) -> bool:
        """Every node sees every slot served, by a primary that a replica follows."""
        primaries = self.primaries()
        return (
            len(primaries) == self._primaries
            and all(map(self._followed, primaries))
            and all(
                (said := self._info(server))["cluster_state"] == "ok" and said["cluster_slots_ok"] == str(SLOTS)
                for server in self.servers
            )
        )

    def owner(self, slot: int) -> RedisServer:
        """The primary that has it."""
        for first, last, primary, *_ in self.ask(self.primaries()[0], "CLUSTER SLOTS"):
            if int(first) <= slot <= int(last):
                return next(server for server in self.servers if server.port == int(primary[1]))
        raise ServiceError(f"nobody has slot {slot}")

    def _taken_over(self, primary: RedisServer) -> bool:
        return len(self.primaries(primary)) == self._primaries and all(
            self._info(server)["cluster_state"] == "ok" for server in self.servers if server is not primary
        )

    def fail_over(self, primary: RedisServer) -> None:
        """As an operator does before maintenance: the replica catches up, then takes over; nothing is lost."""
        self.ask(self.replicas(primary)[0], "CLUSTER FAILOVER")
        until(lambda: primary not in self.primaries() and self.whole(), "the replica has taken over")

    def target(self, slot: int) -> RedisServer:
        """A primary that does not have it."""
        return next(server for server in self.primaries() if server is not self.owner(slot))

    def move_slot(self, slot: int, between: Callable[[], object] = lambda: None, keys_at_once: int = 20) -> None:
        """Key by key, as every version since 3.0 can; `between` is called before each of these steps."""
        source, target = self.owner(slot), self.target(slot)
        self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", self.id(source))
        self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", self.id(target))
        while keys := self.ask(source, "CLUSTER GETKEYSINSLOT", slot, keys_at_once):
            between()
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *keys)
        between()
        for server in (target, source):
            self.ask(server, "CLUSTER SETSLOT", slot, "NODE", self.id(target))
        until(lambda: self.owner(slot) is target and self.whole(), "the slot has moved")

    def move_slot_at_once(self, slot: int) -> None:
        """As Valkey 9 can: clients see nothing but MOVED at the end."""
        source, target = self.owner(slot), self.target(slot)
        self.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.id(target))
        until(lambda: self.owner(slot) is target and self.whole(), "the slot has moved")


class Sentinels(Nodes):
    """A primary with two replicas, and three Sentinels that watch it."""

    def __init__(self, directory: Path) -> None:
        config = {"repl-diskless-sync-delay": "0"}
        super().__init__([RedisServer(directory / f"server-{number}", config=config) for number in range(3)])
        self.sentinels = [SentinelServer(directory / f"sentinel-{number}", self.servers[0].port) for number in range(3)]

    @property
    def settings(self) -> dict[str, str]:
        sentinels = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return {"redis": f"redis://{sentinels}/0", "redis_mode": "sentinel", "redis_service": SERVICE}

    def client(self) -> redis.Redis:
        """Of the primary as the Sentinels know it now."""
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError, OSError):
                return redis.Redis(port=self._named(sentinel), socket_timeout=5)
        raise ServiceError("no Sentinel names a primary")

    def _named(self, sentinel: SentinelServer) -> int:
        with redis.Redis(port=sentinel.port, socket_timeout=5) as asked:
            return int(asked.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _join(self) -> None:
        for server in self.servers[1:]:
            self.ask(server, "REPLICAOF", "127.0.0.1", self.servers[0].port)
        for sentinel in self.sentinels:
            sentinel.start()
        until(self.whole, "all Sentinels know the primary, its replicas and each other")

    def stop(self) -> None:
        for sentinel in self.sentinels:
            sentinel.kill()
        super().stop()

    def whole(self) -> bool:
        primaries = self.primaries()
        return len(primaries) == 1 and len(self.replicas(primaries[0])) == 2 and self._agreed(primaries[0], 2)

    def _agreed(self, primary: RedisServer, replicas: int) -> bool:
        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port, socket_timeout=5) as asked:
                said = asked.sentinel_masters()[SERVICE]
            if said["port"] != primary.port or said["num-other-sentinels"] != 2 or said["num-slaves"] < replicas:
                return False
        return True

    def _taken_over(self, primary: RedisServer) -> bool:
        primaries = self.primaries(primary)
        return len(primaries) == 1 and self._agreed(primaries[0], 0)

    def fail_over(self, primary: RedisServer) -> None:
        with redis.Redis(port=self.sentinels[0].port, socket_timeout=5) as asked:
            asked.execute_command("SENTINEL FAILOVER", SERVICE)
        until(lambda: primary not in self.primaries() and self.whole(), "another is primary")


class SentinelServer(RedisServer):
    """valkey-server as a Sentinel; it keeps what it learns in its configuration file."""

    name = "sentinel"

    def __init__(self, directory: Path, primary_port: int) -> None:
        super().__init__(directory)
        self._file = directory / "sentinel.conf"
        self._file.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {NODE_TIMEOUT_MS}\n"
            f"sentinel failover-timeout {SERVICE} 6000\n"
        )

    def command(self) -> list[str]:
        return [super().command()[0], str(self._file), "--sentinel"]
