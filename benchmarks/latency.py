"""How long from a trade to its action, while a worker runs and knows all clients.

Enters: a running worker, the job. Leaves: milliseconds from just before produce to a read_committed consumer.
Holds: trades leave on a fixed schedule whatever comes back; an action is matched to its trade by `cause.event_id`; the
first seconds are warm-up and are left out.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from benchmarks.backlog import Servers
from benchmarks.job import Job
from benchmarks.process import BenchmarkError
from benchmarks.wire import ACTION_TOPICS, producer, reader

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


def measure(servers: Servers, job: Job, rate_per_s: int, seconds: float) -> Latency:
    sent: dict[str, float] = {}
    took_ms: list[float] = []
    over = threading.Event()
    listening = threading.Event()
    began = [0.0]

    def listen() -> None:
        consumer = reader(servers.kafka.bootstrap, ACTION_TOPICS, servers.partitions, at_end=True)
        listening.set()
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            now = time.monotonic()
            at = sent.get(json.loads(message.value() or b"")["cause"]["event_id"] or "")
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
    late_s = 0.0
    for index in range(int(rate_per_s * seconds)):
        due = began[0] + index / rate_per_s
        trade = job.trade(f"L{index}", int(time.time() * 1000))
        wait_s = due - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        else:
            late_s = max(late_s, -wait_s)
        sent[f"L{index}"] = time.monotonic()
        client.produce("trades", trade.value, trade.key)
        client.poll(0)
    client.flush(10)
    time.sleep(DRAIN_S)
    over.set()
    listener.join(10)
    took_ms.sort()
    if len(took_ms) < 100:
        raise BenchmarkError(f"only {len(took_ms)} actions came back, too few to say anything")

    def percentile(share: float) -> float:
        return took_ms[min(int(share * len(took_ms)), len(took_ms) - 1)]

    times = (percentile(0.5), percentile(0.95), percentile(0.99), took_ms[-1], late_s * 1000)
    return Latency(rate_per_s, seconds, len(took_ms), *times)
