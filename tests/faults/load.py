"""A broker's systems: simulated records, produced at a steady rate until told to stop.

Enters: an installation, a seed. Leaves: records on the inbound topics, and a file of those that were acknowledged.
Holds: a client's records all come from one producer, in order: most from one that partitions as Java does, some from
one that does not. A producer is idempotent and waits for the broker as long as it takes: it loses and doubles nothing.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from engine.core.contract.topics import inbound_topics
from engine.demo.simulator import DAY_MS, simulate
from engine.operations.record_file import to_json, to_line
from tests.kafka.installation import Installation

CLIENTS = 12_000
DAYS = 20
BAD_SHARE = 0.01
MISKEYED_OF_100 = 3
WAITS: dict[str, Any] = {
    "message.timeout.ms": 600_000,
    "reconnect.backoff.max.ms": 500,
    "queue.buffering.max.messages": 1_000_000,
}


class Load:
    """Runs in a thread of its own between `start` and `stop`."""

    def __init__(
        self,
        installation: Installation,
        seed: int,
        rate: float,
        file: Path,
        topics: Collection[str] = inbound_topics(),
        clients: int = CLIENTS,
        count: int | None = None,
        days: int = DAYS,
    ) -> None:
        self._installation = installation
        self._seed = seed
        self._rate = rate
        self._file = file
        self._topics = topics
        self._clients = clients
        self._count = count
        self._days = days
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="load")
        self.produced = 0
        self.acknowledged = 0
        self.failed: list[str] = []

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Produce no more; returns when everything has been acknowledged. Raises when something was not."""
        self._stopping.set()
        self.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float = 180) -> None:
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive() or self.failed or self.acknowledged != self.produced:
            raise AssertionError(
                f"the load was not acknowledged: {self.acknowledged} of {self.produced}, {self.failed[:3]}"
            )

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as error:
            self._failure = error

    def _produce(self) -> None:
        straight = self._installation.producer(**WAITS)
        astray = self._installation.producer("consistent_random", **WAITS)
        now_ms = int(time.time() * 1000)
        began = time.monotonic()
        with self._file.open("w") as out:
            for record in simulate(
                self._seed, self._clients, now_ms - self._days * DAY_MS, now_ms, self._topics, self._count, BAD_SHARE
            ):
                if self._stopping.is_set():
                    break
                key = None if record.key is None else record.key.encode()
                value = record.value if isinstance(record.value, bytes) else to_json(record.value)
                miskeyed = key is not None and zlib.crc32(key) // 100 % 100 < MISKEYED_OF_100
                producer = astray if miskeyed else straight
                producer.produce(
                    self._installation.settings.topic(record.topic), key=key, value=value, on_delivery=self._delivered
                )
                out.write(to_line(record))
                self.produced += 1
                if self.produced % 20 == 0:
                    straight.poll(0)
                    astray.poll(0)
                    if self._rate:
                        time.sleep(max(0.0, self.produced / self._rate - (time.monotonic() - began)))
        for producer in (straight, astray):
            producer.flush(150)

    def _delivered(self, error: object, _: Message) -> None:
        if error:
            self.failed.append(str(error))
        else:
            self.acknowledged += 1
