"""Another processor than that of clients, on the same partition, log, store and replay."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.core.contract.topics import inbound_topics
from engine.core.firm_time import HOUR_MS
from engine.operations.replay import PartitionReplay, Replayed
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.errors import Fenced, Newer, Surprised, Unavailable
from engine.runtime.settings import load
from tests import counter
from tests.core.making import at, balance, login, trade
from tests.counter import COUNTER
from tests.memory import ABORTED, AFTER, BEFORE
from tests.runtime.driving import QUIET, Bench, Recorded, Topics, next_batch, topics_of

FAULTS = ["", "", "", BEFORE, ABORTED, AFTER]


def some_topics(seed: int) -> Topics:
    chance = random.Random(seed)
    kinds = (
        lambda t, c: login(t, client_id=c),
        lambda t, c: trade(t, client_id=c),
        lambda t, c: balance(t, 1, client_id=c),
    )
    return topics_of(chance.choice(kinds)(at(0) + n * 60_000, f"c{chance.randrange(5)}") for n in range(60))


def expected(topics: Topics) -> Counter[str]:
    return Counter((record.key or b"").decode() for records in topics.values() for record in records)


@pytest.mark.parametrize("seed", range(40))
async def test_each_event_counts_once_whatever_fails_and_whoever_is_killed(seed: int):
    chance = random.Random(seed)
    bench = Bench(
        QUIET,  # the counter asks nothing of its plan
        publish_faults=chance.choices(FAULTS, k=40),
        apply_faults=chance.choices([f for f in FAULTS if f != ABORTED], k=40),
        processor=COUNTER,
        cache_bytes=chance.choice((0, 10_000_000)),
    )
    topics = some_topics(seed)
    worker = bench.worker()
    recovered = False
    for _ in range(1_000):
        try:
            if not recovered:
                await worker.recover()
                recovered = True
            batch = next_batch(topics, worker.offsets, chance.choice((1, 3, 10)))
            if batch is None and not worker.uncommitted:
                break
            if batch is not None:
                await worker.take(batch)
            if chance.random() < 0.3 or batch is None:
                await worker.commit("age")
            if chance.random() < 0.1:
                await worker.tick(at(0) + HOUR_MS)
            if chance.random() < 0.05:  # killed, and replaced
                worker, recovered = bench.worker(), False
            if chance.random() < 0.05:
                bench.data.lose(chance.randrange(3))
        except (Unavailable, Surprised, Fenced):
            recovered = False
    while True:  # what Redis lost at the very end is in the ledger
        try:
            worker = await bench.started()
            break
        except Unavailable:
            continue
    wanted = expected(topics)
    assert {key: int(bench.data.public(key)["events"]) for key in wanted} == wanted
    said = sorted((message.value or b"").decode() for message in bench.ledger.messages)
    assert said == sorted(f"{key}:{n}" for key, events in wanted.items() for n in range(3, events + 1, 3))
    assert worker.position.states == len(wanted)
    assert worker.position.tallies == {"many": sum(events >= 3 for events in wanted.values())}
    replayed = Replayed()
    again = PartitionReplay(COUNTER, 7, Recorded(topics), lambda _: QUIET, lambda _: True, replayed)
    for offset, record in bench.ledger.units():
        await again.take(offset, record)
    assert replayed.differences == []
    assert again.states.packed() == bench.data.states()


async def test_what_is_due_is_woken_and_nothing_is_swept():
    bench = Bench(QUIET, processor=COUNTER)
    worker = await bench.started()
    batch = next_batch(topics_of([login(at(0))]), {}, 10)
    assert batch is not None
    await worker.take(batch)
    await worker.commit("age")
    before = bench.data.states()
    assert not await worker.tick(at(0) + HOUR_MS - 1)
    assert bench.data.states() == before
    await worker.tick(at(0) + HOUR_MS)
    assert bench.data.states() != before
    await worker.sweep(at(1), 100)
    assert not worker.uncommitted


async def test_a_state_of_a_newer_counter_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    bench = Bench(QUIET, processor=COUNTER)
    topics = topics_of([login(at(0)), login(at(1))])
    monkeypatch.setattr(counter, "VERSION", 2)
    newer = await bench.started()
    first = next_batch(topics, {}, 1)
    assert first is not None
    await newer.take(first)
    await newer.commit("age")
    monkeypatch.undo()
    older = await bench.started()
    second = next_batch(topics, older.offsets, 1)
    assert second is not None
    with pytest.raises(Newer, match="the state of client c1 is of a newer Engage"):
        await older.take(second)


def test_names_of_the_processor_of_clients_are_those_of_0_1_and_another_has_its_own():
    settings = load(prefix="p.", app_id="bank")
    mine, other = (settings.scoped(processor.name, processor.suffix) for processor in (ENGAGEMENT, COUNTER))
    assert (mine.group, mine.ledger_topic, mine.topic("rerouted"), mine.scope) == (
        "p.bank-engagement", "p.bank-ledger", "p.bank-rerouted", "bank",
    )  # fmt: skip
    assert (other.group, other.ledger_topic, other.topic("rerouted"), other.scope) == (
        "p.bank-counter", "p.bank-counter-ledger", "p.bank-counter-rerouted", "bank-counter",
    )  # fmt: skip
    for same in ("rule_set_topic", "resent_topic", "kafka"):
        assert getattr(mine, same) == getattr(other, same) == getattr(settings, same)
    assert [mine.topic(topic) for topic in inbound_topics()] == [other.topic(topic) for topic in inbound_topics()]
