"""What the faults are done to: a broker, a store, and workers that reach both through proxies of their own.

Enters: a directory. Leaves: slots with running workers, and how far each partition has come, moment by moment.
Holds: a slot's listener at the broker advertises the slot's proxy, so that all of its worker's traffic goes through it;
what watches and judges goes to broker and store directly. Workers watch a copy of the shipped rules, which may change.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisClusterException

from engine.core.contract.topics import POOL_TOPICS
from engine.runtime.redis.keys import position_key
from engine.runtime.settings import OF_POOLS
from tests.faults import budgets, pools
from tests.faults.proxy import Proxies, Proxy
from tests.kafka.installation import RULES, Installation
from tests.kafka.worker_process import WorkerProcess
from tests.services.kafka import KafkaBroker
from tests.services.process import free_port
from tests.services.redis import RedisServer
from tests.services.redis_nodes import Cluster, Sentinels

PARTITIONS = 12
SESSION_TIMEOUT_S = 3
SAMPLE_S = 0.05


class Slot:
    """A place for one worker, with its two proxies. Several servers of Redis are reached directly: each announces its
    own address.
    """

    def __init__(
        self, number: int, installation: Installation, rules: Path, kafka: Proxy, redis_: Proxy | None
    ) -> None:
        self.number = number
        self.kafka = kafka
        self.redis = redis_
        self._installation = installation
        self._rules = rules
        self.worker: WorkerProcess | None = None

    def start(self, **environment: object) -> None:
        given: dict[str, Any] = {
            "ENGAGE_KAFKA": f"127.0.0.1:{self.kafka.port}",
            "ENGAGE_WATCH": "true",
            **environment,
        }
        if self.redis is not None:
            given["ENGAGE_REDIS"] = f"redis://127.0.0.1:{self.redis.port}/0"
        self.worker = self._installation.worker(rules=self._rules, **given)

    @property
    def taken(self) -> bool:
        return self.worker is not None

    def kill(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker = None

    def stop(self) -> None:
        """As an orchestrator does it; a worker that does not end well is a failure."""
        assert self.worker is not None
        worker, self.worker = self.worker, None
        worker.stop()

    def refuses(self, remedy: str) -> None:
        """The worker ends by itself, and says what to do."""
        assert self.worker is not None
        status, text = self.worker.wait(), self.worker.log.read_text()
        assert status == 1, f"worker {self.number} ended with status {status}: {self.worker.log}\n{text[-2000:]}"
        refusal = text.partition("Error: ")[2]
        assert remedy in refusal, f"worker {self.number} said {refusal!r}: {self.worker.log}"
        self.worker = None

    def signal(self, number: signal.Signals) -> None:
        assert self.worker is not None
        self.worker.signal(number)


class Arena:
    """Broker, store, slots. Not yet running: `start`."""

    def __init__(
        self,
        directory: Path,
        slots: int,
        partitions: int = PARTITIONS,
        nodes: Callable[[Path], Cluster | Sentinels] | None = None,
        with_pools: bool = False,
        **settings: object,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.partitions = partitions
        self.proxies = Proxies()
        behind = [free_port() for _ in range(slots)]
        fronts = [self.proxies.to(port) for port in behind]
        port, controller_port = free_port(), free_port()
        names = [f"SLOT{number}" for number in range(slots)]
        config = {
            "listeners": listeners(names, behind, port) + f",CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": listeners(names, [front.port for front in fronts], port),
            "listener.security.protocol.map": ",".join(f"{n}:PLAINTEXT" for n in (*names, "PLAINTEXT", "CONTROLLER")),
            "inter.broker.listener.name": "PLAINTEXT",
        }
        self.broker = KafkaBroker(directory / "kafka", port=port, controller_port=controller_port, config=config)
        self.store = RedisServer(directory / "redis", appendfsync="everysec")
        self.nodes = nodes(directory) if nodes else None
        given = {"session_timeout_s": SESSION_TIMEOUT_S, "clock": "wall", **settings}
        given |= self.nodes.settings if self.nodes else {"redis": self.store.url}
        self.rules = shutil.copytree(RULES, directory / "rules")
        self.installation = Installation("faults", self.broker.bootstrap, str(given.pop("redis")), directory, **given)
        if with_pools:
            pools.write(self.rules, dt.date.today())
            budgets.write(self.rules)
            own = self.installation.settings.scoped(*OF_POOLS)
            self.installation.further = {own.scope: tuple(POOL_TOPICS)}
        self.slots = [
            Slot(
                number,
                self.installation,
                self.rules,
                front,
                None if self.nodes else self.proxies.to(self.store.port),
            )
            for number, front in enumerate(fronts)
        ]
        self.watch = Watch(self.installation, partitions)

    def start(self) -> Arena:
        self.broker.start()
        (self.nodes or self.store).start()
        self.installation.create_topics(self.partitions)
        self.watch.start()
        return self

    @property
    def taken(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.taken]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.taken]

    def check_alive(self) -> None:
        """No worker may have ended by itself, whatever was done to it or around it."""
        for slot in self.taken:
            assert slot.worker is not None
            if not slot.worker.running:
                tail = slot.worker.log.read_text()[-2000:]
                raise AssertionError(
                    f"worker {slot.number} has ended, status {slot.worker.wait()}: {slot.worker.log}\n{tail}"
                )

    def engage(self, *arguments: str) -> str:
        """What a command of the engine says, which must succeed."""
        done = self.installation.engage(*arguments)
        assert done.returncode == 0, f"engage {' '.join(arguments)}: {done.stderr[-2000:]}"
        return done.stdout

    def ready(self) -> bool:
        return all(slot.worker is not None and slot.worker.get("/health/ready")[0] == 200 for slot in self.taken)

    def end(self) -> None:
        """Leave nothing running, whatever state things are in."""
        self.watch.stop()
        for slot in self.taken:
            slot.kill()
        self.store.kill()
        if self.nodes:
            self.nodes.stop()
        self.broker.kill()
        self.proxies.stop()


def listeners(names: list[str], ports: list[int], plain: int) -> str:
    pairs = [("PLAINTEXT", plain), *zip(names, ports, strict=True)]
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in pairs)


class Watch:
    """Each partition's ledger offset in the store, sampled: when did which one commit again?"""

    def __init__(self, installation: Installation, partitions: int) -> None:
        self._keys = [position_key("faults", partition) for partition in range(partitions)]
        self._installation = installation
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
        self._samples: list[tuple[float, list[int]]] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(redis.RedisError, RedisClusterException, OSError), self._installation.redis() as r:
                self._sample(r)

    def _sample(self, client: Any) -> None:
        """Until the end, or until it fails."""
        while not self._stopping.wait(SAMPLE_S):
            found = [client.get(key) for key in self._keys]
            self._samples.append((time.monotonic(), [json.loads(text)["ledger"] if text else 0 for text in found]))

    def recovered_s(self, moment: float) -> float | None:
        """How long after `moment` every partition had committed something new; None while one has not."""
        before = [0] * len(self._keys)
        since: dict[int, float] = {}
        for at, ledgers in list(self._samples):
            if at <= moment + SAMPLE_S:  # what was on its way at that moment is not new
                before = [max(old, new) for old, new in zip(before, ledgers, strict=True)]
                continue
            for partition, ledger in enumerate(ledgers):
                if ledger > before[partition]:
                    since.setdefault(partition, at)
        return max(since.values()) - moment if len(since) == len(before) else None

    def behind(self, moment: float) -> list[int]:
        """Partitions that have committed nothing new since."""
        before = [max(values) for values in zip(*(v for at, v in self._samples if at <= moment), strict=True)]
        now = self._samples[-1][1]
        return [partition for partition, old in enumerate(before) if now[partition] <= old]
