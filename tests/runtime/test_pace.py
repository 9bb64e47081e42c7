"""Rates over all clients: what comes faster waits for its turn, through every fault; nothing is dropped or doubled."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

import pytest

from engine.core.contract.outbound import OUTBOUND
from engine.core.plan.compile import Plan
from engine.operations.replay import PartitionReplay, Replayed
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.errors import Surprised, Unavailable
from tests.core.making import at, login, plan_of, profile, rule
from tests.memory import ABORTED, AFTER, BEFORE
from tests.runtime.driving import Bench, Recorded, all_batches, topics_of

CLIENTS = 40
PARTITIONS = 4
MINUTE_MS = 60_000
RATES = "rates: {sms: {at_most: 40, per: minute, of: {channel: sms}}}\n"
TURN_MS = MINUTE_MS * PARTITIONS // 40
FAULTS = ["", "", "", BEFORE, ABORTED, AFTER]


def plan(*rules: str, policy: str = RATES) -> Plan:
    return plan_of(*rules, others=(("policy.yaml", "contact: {daily_cap: 100}\n" + policy),))


def herd() -> Any:
    """All log in within a second."""
    known = [profile(at(0) - 1, client_id=f"c{n}", consents=("sms", "email")) for n in range(CLIENTS)]
    return topics_of([*known, *(login(at(0) + n, client_id=f"c{n}") for n in range(CLIENTS))])


def sent(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(m.value or b"") for m in bench.ledger.messages if m.topic in OUTBOUND and m.topic == "messages"]


async def replayed_alike(bench: Bench, topics: Any, rules: Plan) -> bool:
    replayed = Replayed()
    again = PartitionReplay(ENGAGEMENT, 7, Recorded(topics), lambda _: rules, lambda _: True, replayed, PARTITIONS)
    for offset, record in bench.ledger.units():
        await again.take(offset, record)
    return replayed.differences == [] and again.states.packed() == bench.data.states()


async def played(bench: Bench, topics: Any, chance: random.Random | None) -> list[int]:
    """A second at a time; the moments at which actions went out. With `chance`, workers and stores come to harm."""
    batches = all_batches(topics, chance.choice((1, 7, 100)) if chance else 100)
    worker, recovered, moments = bench.worker(), False, list[int]()
    for wall_ms in range(at(0) + 1_000, at(0) + 2 * CLIENTS * TURN_MS, 1_000):
        before = len(sent(bench))
        try:
            if not recovered:
                await worker.recover()
                recovered = True
            stands = worker.offsets
            for batch in batches:
                if all(stands.get(topic, 0) == begin for topic, (begin, _) in batch.ranges.items()):
                    await worker.take(batch, wall_ms)
                    await worker.commit("age")
                    break
            await worker.tick(wall_ms, decided_ms=wall_ms)
        except (Unavailable, Surprised):
            recovered = False
        if chance and chance.random() < 0.05:
            worker, recovered = bench.worker(), False
        if chance and chance.random() < 0.05:
            bench.data.lose(chance.randrange(3))
        moments += [wall_ms] * (len(sent(bench)) - before)
    await bench.started()
    return moments


def everybody(bench: Bench) -> bool:
    return sorted(action["client_id"] for action in sent(bench)) == sorted(f"c{n}" for n in range(CLIENTS))


async def test_a_herd_goes_out_evenly():
    rules, topics = plan(rule("hello", channels="[sms]")), herd()
    bench = Bench(rules, partitions=PARTITIONS)
    moments = await played(bench, topics, None)
    assert everybody(bench)
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == [TURN_MS] * (CLIENTS - 1)
    assert await replayed_alike(bench, topics, rules)


@pytest.mark.parametrize("seed", range(30))
async def test_each_goes_out_once_whatever_fails(seed: int):
    chance = random.Random(seed)
    rules, topics = plan(rule("hello", channels="[sms]")), herd()
    bench = Bench(
        rules,
        partitions=PARTITIONS,
        publish_faults=chance.choices(FAULTS, k=40),
        apply_faults=chance.choices([fault for fault in FAULTS if fault != ABORTED], k=40),
    )
    moments = await played(bench, topics, chance)
    assert everybody(bench)
    assert len(moments) == CLIENTS
    for turns in range(1, CLIENTS):  # a fault delays; none lets one go out before its turn
        assert moments[turns] >= moments[0] + (turns - 1) * TURN_MS - MINUTE_MS // 60
    assert await replayed_alike(bench, topics, rules)


async def test_what_a_rate_does_not_concern():
    rules = plan(
        rule("by-mail", channels="[email]"),
        rule("warning", channels="[sms]", **{"class": "risk"}),
        rule("late", channels="[sms]", expires="1m", priority=40),
    )
    bench = Bench(rules, partitions=PARTITIONS)
    await played(bench, herd(), None)
    found = Counter(action["rule_id"] for action in sent(bench))
    assert (found["by-mail"], found["warning"]) == (CLIENTS, CLIENTS)
    assert found["late"] == 10  # those whose turn comes within the minute of its expiry
    of_late = bench.registry.get_sample_value("engage_decisions_total", {"rule": "late", "outcome": "rate"})
    assert of_late == CLIENTS - 10


async def test_a_position_without_rates_has_no_word_of_them():
    bench = Bench(plan(rule("hello"), policy=""))
    await played(bench, herd(), None)
    assert b"pace" not in bench.data.position
