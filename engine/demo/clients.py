"""The demo's own clients: what feeds the worker, and what observes it from outside.

Enters: a Kafka, a worker's address. Leaves: records fed; figures on the board.
Holds: the caller sets the speed of time; what is fed follows from the simulator alone.
"""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS
from engine.demo.board import Board
from engine.demo.embedded import PARTITIONS
from engine.demo.simulator import DAY_MS, simulate
from engine.operations.record_file import SimulatedRecord, to_json

SEED: Final = 7
CLIENTS: Final = 800
BAD_SHARE: Final = 0.001
# The history ends now: its first 120 days pass in half a minute, the 540 after them in twenty minutes, and then it is
# the present. The shipped calendar knows all of these days.
FAST_DAYS: Final = 120
SLOW_DAYS: Final = 540
FAST_DAYS_PER_S: Final = 4.5
MAX_DAYS_PER_S: Final = 15.0  # for a short demo
SLOW_DAYS_PER_S: Final = 0.4
LEAST_DAYS: Final = 14  # are played when not everything was seen in time; some two days show it all
SCRAPE_S: Final = 0.5
HTTP_S: Final = 10.0


def fast_days_per_s(seconds: int | None) -> float:
    """A short demo goes through the same history faster."""
    if seconds is None:
        return FAST_DAYS_PER_S
    return min(MAX_DAYS_PER_S, max(FAST_DAYS_PER_S, FAST_DAYS / seconds))


class Feed:
    """Puts the simulator's records on Kafka at the demo's pace."""

    def __init__(
        self, kafka: str, now_ms: Callable[[], int], fast_days_per_s: float, topics: Collection[str] | None = None
    ) -> None:
        # it outlives the broker, and would say so at level error
        settings = {"bootstrap.servers": kafka, "partitioner": "murmur2_random", "linger.ms": 20, "log_level": 2}
        self._producer = Producer(settings)
        self._now_ms = now_ms
        self._fast_days_per_s = fast_days_per_s
        start_ms = now_ms() - (FAST_DAYS + SLOW_DAYS) * DAY_MS
        self._slow_from_ms = start_ms + FAST_DAYS * DAY_MS
        self.moment_ms: float = start_ms
        end_ms = start_ms + 20 * 365 * DAY_MS
        self._records = simulate(SEED, CLIENTS, start_ms, end_ms, topics, bad_share=BAD_SHARE)
        self._next = next(self._records)

    def due_ms(self, elapsed_s: float) -> float:
        """How far the simulated time goes in `elapsed_s`."""
        days_per_s = self._fast_days_per_s if self.moment_ms < self._slow_from_ms else SLOW_DAYS_PER_S
        return self.moment_ms + elapsed_s * days_per_s * DAY_MS

    def advance(self, until_ms: float, room: int) -> Iterator[SimulatedRecord]:
        """Send what falls due, at most `room` records and nothing of the future; what was sent."""
        until_ms = min(until_ms, self._now_ms())
        while self._next.time_ms <= until_ms:
            if room <= 0:
                until_ms = self._next.time_ms
                break
            record, room = self._next, room - 1
            self._send(record)
            yield record
            self._next = next(self._records)
        self.moment_ms = max(self.moment_ms, until_ms)
        self._producer.poll(0)

    def _send(self, record: SimulatedRecord) -> None:
        value = record.value if isinstance(record.value, bytes) else to_json(record.value)
        while True:
            try:
                return self._producer.produce(record.topic, value=value, key=record.key)
            except BufferError:
                self._producer.poll(0.1)

    @property
    def least_ms(self) -> int:
        """Up to here at least there is a demo."""
        return self._slow_from_ms - (FAST_DAYS - LEAST_DAYS) * DAY_MS


class Watch:
    """Reads what the worker publishes, and its metrics and health."""

    def __init__(self, kafka: str, board: Board, web: str) -> None:
        settings: dict[str, Any] = {
            "bootstrap.servers": kafka,
            "group.id": "engage-demo",  # needed by the client, never joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 3,
        }
        self._consumer = Consumer(settings)
        self._next = {(topic, p): 0 for topic in (*OUTBOUND, DEAD_LETTERS) for p in range(PARTITIONS)}
        self._at_end: set[tuple[str, int]] = set()
        self._assign()
        self._board = board
        self._web = web
        self._scraped_at = 0.0
        self.ready = False

    def published(self, timeout_s: float) -> int:
        """Read what has come; how many records."""
        came = 0
        for record in self._consumer.consume(1000, timeout_s):
            partition = (record.topic() or "", record.partition() or 0)
            if (error := record.error()) is None:
                came += 1
                self._next[partition] = (record.offset() or 0) + 1
                headers = cast(list[tuple[str, bytes]], record.headers() or [])
                self._board.saw_record(partition[0], record.value() or b"", dict(headers))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end.add(partition)
        return came

    def read_to_end(self, patience_s: float) -> None:
        """Read all that there is, once nobody publishes any more."""
        self._at_end.clear()
        self._assign()  # again: an end is reported once, and may not have been the last
        last_s = time.monotonic()
        while len(self._at_end) < len(self._next) and time.monotonic() - last_s < patience_s:
            if self.published(0.1):
                last_s = time.monotonic()

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(topic, p, offset) for (topic, p), offset in self._next.items()])

    def scrape(self) -> None:
        """Health and metrics, when it is time to look again."""
        began_s, before = time.monotonic(), self._board.taken
        elapsed_s = began_s - self._scraped_at
        if elapsed_s < SCRAPE_S:
            return
        self._scraped_at = began_s
        self.ready = self._get("/health/ready") is not None
        if text := self._get("/metrics"):
            self._board.saw_metrics(text)
            self._board.events_per_s = max(0, self._board.taken - before) / elapsed_s

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._web + path, timeout=HTTP_S) as response:
                return str(response.read().decode())
        except (OSError, http.client.HTTPException):
            return None

    def close(self) -> None:
        self._consumer.close()
