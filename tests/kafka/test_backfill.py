"""Backfill on Kafka and Redis: features declared after the events are as if always there, while a worker goes on."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.core.client.sections import unpack
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.occasion import on
from engine.operations.replay import Replayed, replay_records
from engine.runtime.clients import redis_client
from engine.runtime.protocol.records import Inbound
from engine.runtime.redis import reading as clients
from engine.runtime.rule_sets.archive import load_directory
from tests.kafka.conftest import Offline
from tests.kafka.installation import RULES, Installation
from tests.kafka.test_same_answers import DYING_WORKER, DYING_WORKER_STATUS
from tests.kafka.worker_process import HUNG_S, eventually

NEW = """\
  bought_cny_60d: {source: trades, aggregate: sum, field: amount_cny, where: trade.side == "buy", window: 60d}
  trades_before: {source: trades, aggregate: count, window: previous_month}
  trades_48h: {source: trades, aggregate: count, window: 48h}
  largest_since_sale_cny:
    source: trades
    aggregate: max
    field: amount_cny
    since: {on: trades, when: trade.side == "sell"}
"""
NAMES = ("bought_cny_60d", "trades_before", "trades_48h", "largest_since_sale_cny")
READER = """\
rules:
  - id: reader
    title: Never true; it reads the new features for this test
    owner: wealth
    on: trades
    when: trade.amount_cny < 0
    kind: alert
    audience: team
    priority: 1
    cooldown: 1h
    expires: 1d
    template: reader
    description: For this test.
    parameters: {%s}
""" % ", ".join(f"p{number}: {name}" for number, name in enumerate(NAMES))  # noqa: UP031 (braces)


def values(plan: Plan, states: dict[str, bytes]) -> dict[str, Any]:
    """What the new features say of each client."""
    reader = next(compiled for compiled in plan.compiled[on("trades")] if compiled.rule.id == "reader")
    return {id_: reader.parameters(unpack(plan.layout, state), None, None) for id_, state in states.items()}


def as_always(plan: Plan, trades: Offline) -> dict[str, Any]:
    """The same, had the features been there from the beginning."""
    replayed = Replayed()
    now_ms = int(time.time() * 1000)
    records = (Inbound(sent.topic, 0, at, now_ms, sent.key, sent.value) for at, sent in enumerate(trades.records))
    assert list(replay_records(plan, records, replayed))
    assert not replayed.rejected
    return values(plan, replayed.states)


def stored(engine: Installation) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        async with redis_client(engine.settings) as redis:
            return {client_id: state async for client_id, state in clients.all_states(redis, engine.name)}

    return asyncio.run(read())


@pytest.mark.short
def test_backfill(engine: Installation, trades: Offline, tmp_path: Path) -> None:
    """Half of the trades under the old rules; killed in the middle, run again while the others come."""
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    half = len(trades.records) // 2
    engine.produce(trades.records[:half])
    worker = engine.worker(ENGAGE_BATCH_RECORDS=200).wait_ready()
    engine.settle()
    refused = engine.engage("backfill", *NAMES)
    assert refused.returncode == 1
    assert f'declares no feature "{NAMES[0]}"' in refused.stderr

    (rules / "features.yaml").write_text((rules / "features.yaml").read_text() + NEW)
    (rules / "reader.yaml").write_text(READER)
    published = engine.engage("publish", str(rules), "--note", "new features")
    assert published.returncode == 0, published.stderr
    digest = load_directory(rules).digest
    eventually(lambda: worker.metric("engage_rule_set_info", digest=digest) == 1, "the new rules are in force")

    command = [sys.executable, str(DYING_WORKER), "backfill", *NAMES]
    dying = {"DIE_MOMENT": "before_apply", "DIE_AT": 2}
    died = subprocess.run(command, env=engine._environment(dying), capture_output=True, timeout=HUNG_S)
    assert died.returncode == DYING_WORKER_STATUS, died.stderr
    producing = threading.Thread(target=engine.produce, args=(trades.records[half:],), kwargs={"rate": 1_000})
    producing.start()
    done = engine.engage("backfill", *NAMES)
    producing.join()
    assert done.returncode == 0, done.stderr
    assert "trades: held from its beginning" in done.stderr
    assert "warning" not in done.stderr
    engine.settle()
    plan = compile_rule_set(load_directory(rules))
    assert values(plan, stored(engine)) == as_always(plan, trades)

    eventually(lambda: all(position["swept"] for position in engine.positions()), "all clients are looked at anew")
    before = engine.states()
    again = engine.engage("backfill", *NAMES)
    assert again.returncode == 0, again.stderr
    assert "changed 0\n" in again.stdout
    assert engine.states() == before
    worker.stop()
    replayed = engine.engage("replay", "--from-ledger")
    assert replayed.returncode == 0, replayed.stderr
    assert "differences 0" in replayed.stderr
    assert before.split()[-1] in replayed.stderr
