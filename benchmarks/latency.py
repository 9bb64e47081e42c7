"""How long from a trade to its action, while a side runs and knows all clients.

Enters: a running side, the job. Leaves: milliseconds from just before produce to a read_committed consumer; what share
of a core the side used.
Holds: trades leave on a fixed schedule whatever comes back; an action is matched to its trade by `cause.event_id`; the
first seconds are warm-up and are left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.backlog import Servers
from benchmarks.day.job import Record
from benchmarks.process import BenchmarkError, cpu_s
from benchmarks.wire import action_of, producer, reader

WARM_UP_S = 5.0
DRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Latency:
    rate_per_s: int
    seconds: float
    actions: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_ms: float  # how far the schedule itself was behind at worst
    cpu_share: float  # of a core

    def __str__(self) -> str:
        return (
            f"p50 {self.p50_ms:.1f} ms  p95 {self.p95_ms:.1f} ms  p99 {self.p99_ms:.1f} ms  max {self.max_ms:.1f} ms  "
            f"{self.cpu_share:.0%} of a core  ({self.actions:,} actions; the schedule was at most "
            f"{self.late_ms:.1f} ms late)"
        )


def title(rate_per_s: int, seconds: float) -> str:
    return (
        f"\nfrom produce to a read_committed consumer, {rate_per_s:,} trades a second for {seconds:.0f} s (the first "
        f"{WARM_UP_S:.0f} s left out):"
    )


def measure(
    servers: Servers,
    pid: int,
    topic: str,
    action_topics: Sequence[str],
    trade: Callable[[str, int], Record],
    rate_per_s: int,
    seconds: float,
    cause: Callable[[bytes], str] = lambda value: action_of(value).event_id,
) -> Latency:
    """Of the process `pid`, which reads the topic. `trade` makes the record of an event id and a time; `cause` finds
    that id in what came of it.
    """
    sent: dict[str, float] = {}
    took_ms: list[float] = []
    over = threading.Event()
    listening = threading.Event()
    began = [0.0]

    def listen() -> None:
        consumer = reader(servers.kafka.bootstrap, action_topics, servers.partitions, at_end=True)
        listening.set()
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            now = time.monotonic()
            at = sent.get(cause(message.value() or b""))
            if at is not None and at - began[0] >= WARM_UP_S:
                took_ms.append((now - at) * 1000)
        consumer.close()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    client = producer(servers.kafka.bootstrap, **{"linger.ms": 0})
    if not listening.wait(20):
        raise BenchmarkError("the reader of actions does not start")
    time.sleep(1)
    began[0] = time.monotonic()
    late_s = used_s = 0.0
    for index in range(int(rate_per_s * seconds)):
        due = began[0] + index / rate_per_s
        record = trade(f"L{index}", int(time.time() * 1000))
        wait_s = due - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        else:
            late_s = max(late_s, -wait_s)
        if not used_s and due - began[0] >= WARM_UP_S:
            used_s, warm = cpu_s(pid), time.monotonic()
        sent[f"L{index}"] = time.monotonic()
        client.produce(topic, record.value, record.key)
        client.poll(0)
    client.flush(10)
    cpu_share = (cpu_s(pid) - used_s) / (time.monotonic() - warm)
    time.sleep(DRAIN_S)
    over.set()
    listener.join(10)
    took_ms.sort()
    if len(took_ms) < 100:
        raise BenchmarkError(f"only {len(took_ms)} actions came back, too few to say anything")

    def percentile(share: float) -> float:
        return took_ms[min(int(share * len(took_ms)), len(took_ms) - 1)]

    times = (percentile(0.5), percentile(0.95), percentile(0.99), took_ms[-1], late_s * 1000)
    return Latency(rate_per_s, seconds, len(took_ms), *times, cpu_share)
