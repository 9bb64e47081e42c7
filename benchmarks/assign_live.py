"""From a request for an advisor to its answer, on real Kafka and Redis: `python -m benchmarks.assign --kafka`.

Enters: how many requests were answered before, how many come a second, and for how long. Leaves: percentiles from just
before produce to a read_committed reader, and what share of a core the worker used.
Holds: 2,000 advisors in 40 pools, one worker, eight partitions. Pools hold what was answered before; requests go to
the topic of requests as a client's partition puts them there, and the worker takes in the answers, too.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from benchmarks import latency
from benchmarks.backlog import Engine, Servers, wait
from benchmarks.day.job import Record
from benchmarks.wire import produce
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide.pools import ANSWERS
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

ADVISORS = 2_000
POOLS = 40
CAPACITY = 110
WEIGHTS = {"A": 3, "B": 2, "C": 1}
SKILLS = ("funds", "options", "pensions")
PARTITIONS = 8
APP_ID = "assign"

Skilled = tuple[tuple[str, int], ...]


def roster() -> Iterator[tuple[str, str, tuple[str, ...], Skilled]]:
    """Name, pool, languages, skills of each advisor."""
    random = Random(7)
    for number in range(ADVISORS):
        languages = random.choice(((), ("zh",), ("zh", "en")))
        skills = tuple((skill, random.randint(1, 9)) for skill in SKILLS)
        yield f"adv-{number:04}", f"pool_{number % POOLS}", languages, skills


def request(random: Random, name: str, time_ms: int) -> tuple[bytes, bytes]:
    """Key and value of a record that asks for somebody."""
    pool = f"pool_{random.randrange(POOLS)}"
    record = {
        "event_id": name,
        "client_id": pool,
        "time": time_ms,
        "kind": "assign",
        "request_id": name,
        "client": f"C{name}",
        "tier": random.choices(("A", "B", "C"), (1, 3, 6))[0],
        "region": None,
        "language": "zh",
        "needs": [f"{random.choice(SKILLS)}:{random.randint(1, 5)}"],
        "priority": 50,
    }
    return pool.encode(), json.dumps(record).encode()


def write_rules(directory: Path) -> Path:
    advisors = ["advisors:"]
    for name, pool, languages, skills in roster():
        known = ", ".join(f"{skill}: {level}" for skill, level in skills)
        spoken = f", languages: [{', '.join(languages)}]" if languages else ""
        advisors.append(f"  {name}: {{pool: {pool}, capacity: {CAPACITY}{spoken}, skills: {{{known}}}}}")
    weights = ", ".join(f"{tier}: {weight}" for tier, weight in WEIGHTS.items())
    pools = [
        f"    pool_{number}: {{when: client.assets_cny < {1_000 * (number + 1)}, team: wealth}}"
        for number in range(POOLS)
    ]
    texts = {
        "features.yaml": "features:\n  assets_avg_cny_30d: "
        "{source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n",
        "tiers.yaml": "individual:\n  measure: assets_avg_cny_30d\n  promote_after: 0d\n  demote_after: 30d\n  tiers:\n"
        "    - {tier: A, enter: 3, exit: 3}\n    - {tier: B, enter: 2, exit: 2}\n    - {tier: C}\n",
        "policy.yaml": "contact: {daily_cap: 9}\n",
        "advisors.yaml": "\n".join(advisors) + "\n",
        "assignment.yaml": f"assignment:\n  weights: {{{weights}}}\n  pools:\n" + "\n".join(pools) + "\n",
    }
    directory.mkdir()
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


def live(held: int, rate_per_s: int, seconds: float) -> None:
    random, topic = Random(8), ASSIGNMENT_REQUESTS.name

    def asked(name: str, time_ms: int) -> Record:
        return Record(topic, *request(random, name, time_ms), time_ms)

    with tempfile.TemporaryDirectory() as directory, KafkaBroker() as kafka, RedisServer() as store:
        servers = Servers(kafka, store, PARTITIONS)
        engine = Engine(servers, APP_ID, write_rules(Path(directory) / "rules"))
        engine.create_topics()
        now_ms = int(time.time() * 1000)
        produce(kafka.bootstrap, "", (asked(f"r{number}", now_ms) for number in range(held)))
        worker = engine.worker()
        try:
            worker.wait_ready()
            began = time.monotonic()
            pools = Engine(servers, f"{APP_ID}-assignment", engine.rules)  # whose positions say what was decided
            wait(worker, pools, topic, held)
            wait(worker, engine, ANSWERS, held)
            print(f"{held:,} requests answered before, in {time.monotonic() - began:.0f} s")
            took = latency.measure(
                servers, worker.pid, topic, [ANSWERS], asked, rate_per_s, seconds, lambda v: json.loads(v)["request_id"]
            )
            print(f"{rate_per_s} requests a second for {seconds:.0f} s, until a read_committed reader has the answer:")
            print(took)
            worker.stop()
        finally:
            worker.kill()
