"""All clients fall due at one moment, and trades come then: what a trade waits for its action, from produce to a
read_committed reader.

Enters: numbers of clients and partitions. Leaves: figures, and what is wrong. Holds: three rules of the calendar at one
minute, each action once; the trades are of clients whom the calendar does not wake.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from confluent_kafka import TopicPartition

from engine.runtime.redis.keys import due_key
from tests.faults.findings import Findings, cpu_s
from tests.kafka.installation import RULES, Installation, Sent
from tests.kafka.worker_process import HUNG_S, eventually
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

DAILY = 3  # rules of the calendar
FILES = (
    "events.yaml",
    "features.yaml",
    "policy.yaml",
    "tiers.yaml",
    "calendar.yaml",
    "products.csv",
)  # of the shipped rules
AHEAD_S = 25.0  # the least time from the rules' writing to the minute at which all are due
BEFORE_S = 8.0  # that trades come before it
EVERY_S = 0.1  # a trade
MAX_SHARE = 0.25  # of the time that the herd takes; at first all of it was waited for
ZONE_S = 8 * 3600  # the firm's
RULE = """\
  - id: {id}
    title: Herd
    owner: trading
    {trigger}
    when: {when}
    kind: task
    audience: team
    priority: 40
    cooldown: 1m
    expires: 1h
    template: note
    description: One of the herd's rules.
"""


@dataclass(slots=True)
class Reader:
    """Reads the tasks as they can be read."""

    installation: Installation
    over: threading.Event = field(default_factory=threading.Event)
    of_trades: dict[str, float] = field(default_factory=dict)  # by event id, when the task was read
    of_calendar: Counter[tuple[str, str]] = field(default_factory=Counter)  # by client and rule

    def run(self) -> None:
        consumer, topic = self.installation.consumer(), self.installation.settings.topic("tasks")
        consumer.assign([TopicPartition(topic, p, 0) for p in range(self.installation.partitions)])
        while not self.over.is_set():
            for message in consumer.consume(1000, timeout=0.05):
                if message.error() is None:
                    self._take(json.loads(message.value() or b""), time.time())
        consumer.close()

    def _take(self, task: dict[str, object], now: float) -> None:
        if task["rule_id"] == "trade":
            cause = task["cause"]
            assert isinstance(cause, dict)
            self.of_trades.setdefault(cause["event_id"], now)
        else:
            self.of_calendar[str(task["client_id"]), str(task["rule_id"])] += 1


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def write_rules(directory: Path, due_s: float) -> Path:
    """A rules directory, of which three rules are due at this moment of each day."""
    rules = directory / "rules"
    rules.mkdir()
    for name in FILES:
        shutil.copy(RULES / name, rules)
    at = time.strftime("%H:%M", time.gmtime(due_s + ZONE_S))
    texts = [
        RULE.format(id=f"daily-{n}", trigger=f'at: {{every: day, time: "{at}"}}', when="client.days_known >= 0")
        for n in range(DAILY)
    ]
    texts.append(RULE.format(id="trade", trigger="on: trades", when="trade.amount_cny >= 1"))
    (rules / "herd.yaml").write_text("rules:\n" + "".join(texts))
    return rules


def _profiles(clients: int) -> Iterable[Sent]:
    said = {"event_id": "p", "time": _time(time.time()), "type": "individual"}
    return (Sent("profiles", b"c%d" % n, json.dumps({**said, "client_id": f"c{n}"}).encode()) for n in range(clients))


def _trade(number: int, now: float) -> Sent:
    said = {"event_id": f"t{number}", "client_id": f"x{number}", "time": _time(now), "symbol": "600519", "side": "buy"}
    value = json.dumps({**said, "quantity": 100, "amount_fen": 1_000_000}).encode()
    return Sent("trades", f"x{number}".encode(), value)


def herd(clients: int, partitions: int, findings: Findings) -> None:
    print(f"{clients} clients on {partitions} partitions are due at one moment", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="engage-herd-"))
    with KafkaBroker() as broker, RedisServer() as redis:
        installation = Installation("herd", broker.bootstrap, redis.url, directory, clock="wall")
        installation.create_topics(partitions)
        try:
            _watch(installation, clients, findings)
        except BaseException:
            print(f"logs of the worker: {directory}")
            raise
        finally:
            for worker in installation.workers:
                worker.kill()
    shutil.rmtree(directory, ignore_errors=True)


def _watch(installation: Installation, clients: int, findings: Findings) -> None:
    # so much after now that all clients are known by then
    due_s = (int(time.time() + AHEAD_S + clients / 1000) // 60 + 1) * 60
    worker = installation.worker(rules=write_rules(installation.directory, due_s)).wait_ready()
    installation.produce(_profiles(clients))
    installation.settle()
    assert time.time() < due_s - BEFORE_S, "the clients were not known before they are due: give it more time"
    reader = Reader(installation)
    listening = threading.Thread(target=reader.run, daemon=True)
    listening.start()
    time.sleep(due_s - BEFORE_S - time.time())
    producer, topic = installation.producer(), installation.settings.topic("trades")
    sent: list[float] = []
    used_s = ended_s = 0.0
    with installation.redis() as client:
        while not ended_s:
            now = time.time()
            assert now < due_s + HUNG_S, "the herd was not worked off"
            trade = _trade(len(sent), now)
            sent.append(now)
            producer.produce(topic, key=trade.key, value=trade.value)
            producer.poll(0)
            time.sleep(max(0.0, sent[0] + len(sent) * EVERY_S - time.time()))
            if time.time() < due_s:
                used_s = cpu_s(worker.pid)
                continue
            due = sum(client.zcount(due_key("herd", p), 0, due_s * 1000) for p in range(installation.partitions))
            if not due:
                used_s, ended_s = cpu_s(worker.pid) - used_s, time.time()
    producer.flush(HUNG_S)
    eventually(lambda: len(reader.of_trades) == len(sent), "each trade has its action")
    reader.over.set()
    listening.join()
    waited = [(at, reader.of_trades[f"t{number}"] - at) for number, at in enumerate(sent)]
    before = [wait for at, wait in waited if at < due_s - 1]
    during = [wait for at, wait in waited if at >= due_s - 1]
    took_s, almost = ended_s - due_s, sorted(during)[len(during) * 95 // 100]
    print(
        f"  worked off in {took_s:.1f} s, {1e6 * used_s / clients:.0f} us of CPU a client and "
        f"{worker.metric('engage_ticks_total') / took_s:.0f} ticks a second; a trade waited {median(during):.2f} s in "
        f"the median, 95% within {almost:.2f} s, {max(during):.2f} s at most; "
        f"before, {median(before):.2f} and {max(before):.2f} s",
        flush=True,
    )
    woken = {(f"c{n}", f"daily-{rule}") for n in range(clients) for rule in range(DAILY)}
    right = woken <= reader.of_calendar.keys() and reader.of_calendar.total() == len(reader.of_calendar)
    findings.check(right, f"{reader.of_calendar.total()} actions of the calendar, each once")
    # the clock of the machine says nothing here: what waits for the herd waits for a share of it
    share = max(during) / took_s
    findings.check(share < MAX_SHARE, f"a trade waits {share:.0%} at most of the time that the herd takes")
