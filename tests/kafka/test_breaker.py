"""A rule that runs away on two workers is paused for both; what was due goes out when a person says so, and once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from engine.runtime.clients import Clients
from engine.runtime.rule_sets.archive import RuleSetArchive
from tests.kafka.installation import Installation, Sent, WorkerProcess
from tests.kafka.test_rule_sets import RULE
from tests.kafka.worker_process import eventually
from tests.rulefile.sample import FILES

BOUND = 100


class Flood:
    """Trades of ever other clients, until it is stopped."""

    def __init__(self, engine: Installation, per_second: int) -> None:
        self.sent = 0
        self._engine = engine
        self._per_second = per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def send(self, trades: int) -> None:
        self._engine.produce(self._next() for _ in range(trades))

    def _next(self) -> Sent:
        self.sent += 1
        return trade(f"C{self.sent}")

    def _run(self) -> None:
        self._engine.produce(
            iter(lambda: None if self._stopping.is_set() else self._next(), None), rate=self._per_second
        )


def trade(client_id: str) -> Sent:
    value = {"event_id": "T", "client_id": client_id, "time": round(time.time() * 1000), "symbol": "600000"}
    value |= {"side": "buy", "quantity": 1, "amount_fen": 100}
    return Sent("trades", client_id.encode(), json.dumps(value).encode())


def slipped(engine: Installation) -> str:
    """What went out beyond the bound, for who reads the test's output: it asserts no time."""
    times = sorted(alert.timestamp_ms for alert in engine.read("alerts"))
    return f"{len(times) - BOUND} went out beyond the bound, in {times[-1] - times[BOUND]} ms"


def sent_once(engine: Installation) -> int:
    """How many clients were acted on; each once."""
    alerts = engine.read("alerts")
    assert max(Counter(alert.key for alert in alerts).values(), default=1) == 1
    assert max(Counter(alert.json["id"] for alert in alerts).values(), default=1) == 1
    return len(alerts)


def history(engine: Installation) -> RuleSetArchive:
    found = RuleSetArchive(engine.settings, Clients())
    asyncio.run(found.read())
    return found


def paused(worker: WorkerProcess) -> bool:
    return worker.metric("engage_rule_paused", rule="any-trade") == 1


@pytest.mark.short
def test_a_rule_that_runs_away_is_paused_for_all(engine: Installation, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    breaker = f"breaker: {{each_rule: {{per_minute: {BOUND}}}}}\n"
    for name, text in (FILES | {"policy.yaml": FILES["policy.yaml"] + breaker, "extra.yaml": RULE}).items():
        (rules / name).write_text(text)
    workers = [engine.worker(rules=rules, ENGAGE_CLOCK="wall").wait_ready() for _ in range(2)]
    eventually(lambda: all(worker.metric("engage_partitions_assigned") == 2 for worker in workers), "both work")
    with Flood(engine, 300) as flood:
        eventually(lambda: all(map(paused, workers)), "the rule is paused for both")
        eventually(lambda: all(worker.logged("rule set active") for worker in workers), "everywhere")
    engine.settle()
    went_out = sent_once(engine)
    assert BOUND < went_out < flood.sent
    print(slipped(engine))
    assert sum(worker.metric("engage_breaker_pauses_total") or 0 for worker in workers) == 1
    steps = history(engine).history
    assert [step.action for step in steps] == ["start", "pause"]
    assert "actions in a minute, 100 are allowed" in steps[1].note
    health = json.loads(workers[0].get("/health/ready")[1])
    assert health["state"] == "amber"
    assert "engage rules resume any-trade" in health["warnings"][0]

    flood.send(100)
    engine.settle()
    assert sent_once(engine) == went_out  # what is due is held

    done = engine.engage("rules", "resume", "any-trade", "--note", "meant so", "--as", "ann")
    assert done.returncode == 0, done.stderr
    eventually(lambda: sent_once(engine) == flood.sent, "what was held goes out")
    eventually(lambda: all(len(worker.logged("sweep ends")) == 1 for worker in workers), "all were looked at")
    assert [step.action for step in history(engine).history] == ["start", "pause", "resume"]
    assert sent_once(engine) == flood.sent
    for worker in workers:
        worker.stop()
    replayed = engine.engage("replay", "--from-ledger")
    assert replayed.returncode == 0, replayed.stderr
    assert "differences 0" in replayed.stderr
    assert engine.states().split()[-1] in replayed.stderr
