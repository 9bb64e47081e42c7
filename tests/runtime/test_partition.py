"""One partition: when a unit ends, what it holds, what is kept in memory and what is counted."""

from __future__ import annotations

import itertools

import pytest

from engine.core.contract.message import Message
from engine.core.contract.outbound import Outcome
from engine.runtime.errors import Unavailable
from engine.runtime.protocol import ledger
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.protocol.writes import MAX_CHUNK_BYTES
from tests.core.making import at, balance, login, plan_of, profile, rule, trade
from tests.memory import BEFORE
from tests.runtime.driving import (
    HELLO,
    QUIET,
    Bench,
    all_batches,
    batch_at,
    logins,
    single,
    take_all,
    topics_of,
    units,
)

# -- when a unit ends -----------------------------------------------------------------------------


async def test_without_a_message_a_unit_waits_for_more():
    bench = Bench(QUIET)
    worker = await bench.started()
    await take_all(worker, logins(30))
    assert bench.ledger.records == []
    assert bench.data.position is None
    await worker.commit("age")
    assert [unit.steps for unit in units(bench)] == [
        (Step({"logins": (0, 10)}), Step({"logins": (10, 20)}), Step({"logins": (20, 30)}))
    ]
    assert set(bench.data.states()) == {f"c{n}" for n in range(5)}


async def test_a_message_ends_a_unit_at_once():
    bench = Bench(HELLO)
    worker = await bench.started()
    topics = topics_of([profile(at(0)), login(at(1)), login(at(2), channel="web"), login(at(3))])
    for batch, messages in zip(all_batches(topics, 1), [0, 0, 1, 1], strict=True):
        await worker.take(batch)
        assert len(bench.ledger.acts) == messages
    assert [len(unit.steps) for unit in units(bench)] == [3]
    assert worker.uncommitted


async def test_a_decision_rides_and_ends_no_unit():
    bench = Bench(plan_of(rule("r", cooldown="30d", kind="task", audience="team")))
    worker = await bench.started()
    for batch in all_batches(topics_of([login(at(1)), login(at(2)), login(at(3))]), 1):
        await worker.take(batch)
    assert [message.topic for message in bench.ledger.messages] == ["tasks", "decisions"]
    assert worker.uncommitted
    await worker.commit("age")
    assert [message.topic for message in bench.ledger.messages] == ["tasks", "decisions", "decisions"]
    assert [len(unit.steps) for unit in units(bench)] == [1, 2]


async def test_a_dead_letter_is_a_message():
    bench = Bench(QUIET)
    worker = await bench.started()
    await worker.take(single("trades", 4, b"c1", b"\xffnot json", 5))
    (letter,) = bench.ledger.acts
    assert (letter.topic, letter.key, letter.value) == ("dead-letters", b"c1", b"\xffnot json")
    headers = dict(letter.headers)
    assert headers.pop("engage_error").startswith(b"binary data")
    assert headers == {
        "engage_reason": b"not_json", "engage_topic": b"trades", "engage_partition": b"7", "engage_offset": b"4",
        "engage_timestamp": b"5",
    }  # fmt: skip


async def test_a_bad_record_leaves_the_rest_of_its_batch_unharmed():
    topics = topics_of([profile(at(0)), login(at(1), channel="web"), balance(at(2), 400_000)])
    topics["logins"][0].value = b"{}"
    (batch,) = all_batches(topics, 10)
    bench = Bench(HELLO)
    await (await bench.started()).take(batch)
    assert [m.topic for m in bench.ledger.acts] == ["dead-letters", "tier-changes"]


async def test_a_record_of_another_partition_is_passed_on_and_not_applied():
    bench = Bench(QUIET, belongs=lambda key: key == b"c1")
    worker = await bench.started()
    topics = topics_of([login(at(0), client_id="c1"), login(at(1), client_id="c2")])
    await take_all(worker, topics)
    (copy,) = bench.ledger.acts
    record = topics["logins"][1]
    assert (copy.topic, copy.key, copy.value, copy.timestamp_ms) == ("rerouted", b"c2", record.value, at(1))
    assert dict(copy.headers)["engage_offset"] == b"1"
    assert set(bench.data.states()) == {"c1"}
    assert worker.offsets == {"logins": 2}


@pytest.mark.parametrize("limits", [UnitLimits(records=25), UnitLimits(size_bytes=5_000)])
async def test_a_full_unit_is_committed(limits):
    bench = Bench(QUIET, limits=limits)
    await take_all(await bench.started(), logins(100))
    assert [unit.steps[0].ranges["logins"][0] for unit in units(bench)] == [0, 30, 60]


async def test_while_many_records_wait_messages_wait_too():
    bench = Bench(QUIET, limits=UnitLimits(records=25))
    worker = await bench.started()
    topics = logins(100)
    for record in topics["logins"]:
        record.value = b"not json"  # a dead letter each
    waits = []
    for batch in all_batches(topics, 10):
        await worker.take(batch)
        waits.append((worker.behind, worker.uncommitted))
    waited = [(True, True), (True, True), (True, False)]
    assert waits == [*waited, *waited, *waited, (False, False)]
    assert [unit.steps[0].ranges["logins"][0] for unit in units(bench)] == [0, 30, 60, 90]


async def test_nothing_open_nothing_committed():
    bench = Bench(QUIET)
    worker = await bench.started()
    await worker.commit("age")
    assert not await worker.tick(at(100))
    assert bench.ledger.records == []


async def test_states_of_several_megabytes_are_one_transaction_of_chunks():
    bench = Bench(QUIET, limits=UnitLimits(records=10_000))
    worker = await bench.started()
    await take_all(worker, topics_of(trade(at(0), client_id=f"client-{n:056d}") for n in range(5_000)), 5_000)
    await worker.commit("age")
    chunks = units(bench)
    assert len(chunks) >= 2
    assert [(unit.chunk, unit.chunks) for unit in chunks] == [(n, len(chunks)) for n in range(len(chunks))]
    assert all(len(record) < MAX_CHUNK_BYTES * 1.1 for _, record in bench.ledger.units())
    assert [bool(unit.steps) for unit in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len(bench.data.states()) == 5_000
    states = bench.data.states()
    bench.data.lose(1)
    assert bench.data.states() == {}
    position = await (await bench.started()).recover()
    assert bench.data.states() == states
    assert position.states == 5_000


# -- ticks ----------------------------------------------------------------------------------------


async def test_a_tick_wakes_who_is_due_and_ends_the_unit():
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, topics_of(login(at(n), client_id=f"c{n}") for n in range(5)))
    await worker.commit("age")
    assert not await worker.tick(at(30) - 1)
    assert not await worker.tick(at(32))
    assert [m.key for m in bench.ledger.acts] == [b"c0", b"c1", b"c2"]
    assert units(bench)[-1].steps == (Step({}, at(32), ("c0", "c1", "c2")),)
    assert not await worker.tick(at(32))  # nobody twice
    assert len(units(bench)) == 2


async def test_a_tick_takes_a_bounded_number():
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, topics_of(login(at(0) + n, client_id=f"c{n}") for n in range(5)))
    await worker.commit("age")
    assert [await worker.tick(at(90), limit=2) for _ in range(4)] == [True, True, False, False]
    assert sorted(m.key or b"" for m in bench.ledger.acts) == [b"c0", b"c1", b"c2", b"c3", b"c4"]


async def test_an_event_in_the_open_unit_keeps_a_tick_from_acting():
    """Redis still says that the client is due; its login has been decided and not yet applied."""
    bench = Bench(HELLO)
    worker = await bench.started()
    topics = topics_of([login(at(0)), login(at(29))])
    first, second = all_batches(topics, 1)
    await worker.take(first)
    await worker.commit("age")
    await worker.take(second)
    await worker.tick(at(31))
    assert bench.ledger.acts == []


# -- rules and memory -----------------------------------------------------------------------------


async def test_rules_change_only_at_a_units_boundary():
    plans = [QUIET]
    bench = Bench(lambda: plans[-1])
    worker = await bench.started()
    topics = topics_of([profile(at(0)), *(login(at(n), channel="web") for n in range(1, 4))])
    first, second, third, fourth = all_batches(topics, 1)
    await worker.take(first)
    plans.append(HELLO)
    await worker.take(second)  # still the unit that the old rules began
    assert bench.ledger.acts == []
    await worker.commit("age")
    await worker.take(third)
    assert len(bench.ledger.acts) == 1
    plans.append(QUIET)
    worker.take_newest_plan()
    await worker.take(fourth)
    await worker.commit("age")
    assert [unit.rule_set for unit in units(bench)] == [
        QUIET.rule_set.digest, HELLO.rule_set.digest, QUIET.rule_set.digest,
    ]  # fmt: skip


async def test_a_start_takes_the_newest_rules():
    plans = [QUIET]
    bench = Bench(lambda: plans[-1])
    worker = await bench.started()
    plans.append(HELLO)
    await worker.recover()
    await take_all(worker, topics_of([profile(at(0)), login(at(1), channel="web")]))
    assert len(bench.ledger.acts) == 1


async def test_the_cache_keeps_its_bound_while_a_batch_is_decided():
    """Two million records of 100,000 clients waiting: before, each batch's clients came on top of a full cache."""
    bench = Bench(QUIET, cache_bytes=60_000)
    worker = await bench.started()
    for batch in all_batches(logins(100, clients=100), 8):
        await worker.take(batch)
        assert worker.cached <= max(worker._cache.limit, 8)
        await worker.commit("age")
    assert 8 < worker._cache.limit - 1 <= worker.cached <= worker._cache.limit < 20  # it grows while it is learned
    assert worker.position.states == 100
    topics = topics_of([login(at(0) + n, client_id=f"c{n if n < 100 else n - 10}") for n in range(120)])
    await worker.take(batch_at(topics, worker.offsets, 8))
    assert worker.uncommitted
    assert set(worker._cache) >= {f"c{n}" for n in range(90, 98)}
    await worker.take(batch_at(topics, worker.offsets, 4))
    assert set(worker._cache) >= {f"c{n}" for n in range(90, 102)}  # what is not committed stays
    await worker.take(batch_at(topics, worker.offsets, 8))
    assert len(worker._unit.changed) < worker._cache.limit  # a unit of as many is committed
    await worker.commit("age")
    assert worker.position.states == 110


async def test_the_cache_keeps_its_bound_and_those_used_last():
    bench = Bench(QUIET, cache_bytes=60_000)
    worker = await bench.started()
    for batch in all_batches(logins(100, clients=100), 20):
        await worker.take(batch)
        await worker.commit("age")
        assert worker.cached == worker._cache.limit < 20
    assert set(worker._cache) == {f"c{n}" for n in range(100 - worker.cached, 100)}
    assert worker.position.states == 100  # those that left the cache are not counted anew
    topics = topics_of([login(at(0) + n, client_id=f"c{n % 100}") for n in range(200)])
    await worker.take(batch_at(topics, worker.offsets, 1000))
    await worker.commit("age")
    assert worker.position.states == 100


# -- what is counted ------------------------------------------------------------------------------


def tier_clients(bench: Bench) -> dict[str, float]:
    samples = next(m for m in bench.registry.collect() if m.name == "engage_tier_clients").samples
    return {sample.labels["tier"]: sample.value for sample in samples}


async def test_clients_and_tiers_are_counted_and_survive_a_start():
    bench = Bench(QUIET)
    worker = await bench.started()
    first = [profile(at(0), client_id=f"c{n}") for n in range(4)] + [login(at(0), client_id="stranger")]
    assets = [(0, 10**7), (1, 400_000), (2, 400_000), (3, 5)]
    await take_all(worker, topics_of([*first, *(balance(at(1), cny, client_id=f"c{n}") for n, cny in assets)]))
    assert (worker.position.states, worker.position.tallies) == (5, {"A": 1, "B": 2, "C": 1})
    assert tier_clients(bench) == {"A": 1, "B": 2, "C": 1}
    topics = {"balances": topics_of([balance(at(60), 10**8, client_id="c3")])["balances"]}
    topics["balances"][0].offset = 4
    await worker.take(batch_at(topics, worker.offsets, 9))
    assert worker.position.tallies == {"A": 2, "B": 2}
    assert tier_clients(bench) == {"A": 2, "B": 2}  # nobody is left in C, and nothing says so any more
    bench.data.lose(100)
    again = await bench.started()
    assert again.position == worker.position


async def test_metrics_count_what_was_committed_and_nothing_else():
    bench = Bench(HELLO, publish_faults=[BEFORE])
    worker = await bench.started()
    topics = topics_of([profile(at(0)), login(at(1), channel="web"), trade(at(1) + 1), login(at(1) + 2, channel="web")])
    topics["trades"][0].value = b"[]"
    (batch,) = all_batches(topics, 10)
    with pytest.raises(Unavailable):
        await worker.take(batch)
    sample = bench.registry.get_sample_value
    assert sample("engage_events_total", {"topic": "logins"}) == 0
    await worker.recover()
    await worker.take(batch)
    assert sample("engage_events_total", {"topic": "logins"}) == 2
    assert sample("engage_rejected_total", {"topic": "trades", "reason": "wrong_type"}) == 1
    assert sample("engage_decisions_total", {"rule": "hello", "outcome": Outcome.SENT}) == 1
    assert sample("engage_decisions_total", {"rule": "hello", "outcome": Outcome.COOLDOWN}) == 1
    assert sample("engage_units_total", {"cause": "messages"}) == 1


def test_a_digest_of_messages_tells_any_two_apart():
    made = [
        [Message("t", b"k", b"v", ())],
        [Message("tk", b"", b"v", ())],
        [Message("t", b"kv", b"", ())],
        [Message("t", b"k", b"v", ())] * 2,
        [],
        [Message("t", b"k", b"v", ()), Message("u", b"k", b"v", ())],
        [Message("u", b"k", b"v", ()), Message("t", b"k", b"v", ())],
    ]
    for one, other in itertools.combinations(made, 2):
        assert ledger.digest_of_messages(one) != ledger.digest_of_messages(other)
