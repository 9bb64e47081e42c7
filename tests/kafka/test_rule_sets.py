"""Rules change under running workers: a good change is in force within seconds, a bad one changes nothing and shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from engine.runtime.rule_sets import load_directory
from tests.kafka.installation import RULES, Installation, Sent, WorkerProcess
from tests.kafka.worker_process import eventually

JULY_2025_MS = 1_751_328_000_000
RULE = """\
rules:
  - id: any-trade
    title: Any trade at all
    owner: trading
    on: trades
    when: trade.amount_cny >= 1
    kind: alert
    audience: team
    priority: 1
    cooldown: 1h
    expires: 1d
    template: any_trade
    description: For this test.
"""


def trade(client_id: str) -> Sent:
    value = {"event_id": "T", "client_id": client_id, "time": JULY_2025_MS, "symbol": "600000", "side": "buy"}
    return Sent("trades", client_id.encode(), json.dumps(value | {"quantity": 1, "amount_fen": 100}).encode())


def in_force(worker: WorkerProcess, digest: str) -> bool:
    return worker.metric("engage_rule_set_info", digest=digest) == 1 and worker.metric("engage_rule_set_info") == 1


def rules_that_acted(engine: Installation, client_id: str) -> list[str]:
    engine.produce([trade(client_id)])
    engine.settle()
    return [r.json["rule_id"] for r in engine.read("alerts") if r.key == client_id.encode()]


def test_watched_files(engine: Installation, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    first = load_directory(rules).digest
    watching = engine.worker(rules=rules, ENGAGE_WATCH="true").wait_ready()
    following = engine.worker(rules=None).wait_ready()
    workers = (watching, following)
    assert all(in_force(worker, first) for worker in workers)  # the second has it from the topic
    assert rules_that_acted(engine, "C1") == []

    (rules / "extra.yaml").write_text(RULE)
    second = load_directory(rules).digest
    assert second != first
    eventually(lambda: all(in_force(worker, second) for worker in workers), 20, "the changed rules are in force")
    # a partition changes at its next unit's end, or when it is idle
    eventually(lambda: all(len(worker.logged("rule set in force")) == 2 for worker in workers), 10, "everywhere")
    assert rules_that_acted(engine, "C2") == ["any-trade"]

    (rules / "extra.yaml").write_text(RULE.replace("trade.amount_cny", "trade.amuont_cny"))
    eventually(lambda: watching.metric("engage_rule_set_stale") == 1, 20, "the bad file shows")
    assert all(in_force(worker, second) for worker in workers)
    refused = watching.logged("rule set refused, the last good one stays in force")
    assert len(refused) == 1
    assert refused[0]["level"] == "error"
    assert "extra.yaml:6:" in refused[0]["reason"]
    assert watching.metric("engage_rule_set_refused_total") == 1
    assert watching.ready
    assert json.loads(watching.get("/health/ready")[1])["rule_set_stale"] is True
    assert rules_that_acted(engine, "C3") == ["any-trade"]

    (rules / "extra.yaml").unlink()
    eventually(lambda: all(in_force(worker, first) for worker in workers), 20, "the mended rules are in force")
    assert watching.metric("engage_rule_set_stale") == 0
    eventually(lambda: all(len(worker.logged("rule set in force")) == 4 for worker in workers), 10, "everywhere")
    assert rules_that_acted(engine, "C4") == []

    for worker in workers:
        worker.stop()
    replayed = engine.engage("replay", "--from-ledger")  # over three rule sets
    assert replayed.returncode == 0, replayed.stderr
    assert "differences 0" in replayed.stderr
    assert engine.states().split()[-1] in replayed.stderr
