"""One partition: when a unit ends, what it holds, what a partition refuses to go on with."""

from __future__ import annotations

import itertools

import pytest

from engine.core.actions import Outcome
from engine.core.messages import Message
from engine.runtime import ledger
from engine.runtime.intake import Batch
from engine.runtime.ledger import MAX_CHUNK_BYTES, Fenced, Position, Refused, Step, Surprised, Unavailable, decode_unit
from engine.runtime.partition import Partition
from engine.runtime.unit import UnitLimits
from tests.core.making import at, balance, login, plan_of, profile, rule, trade
from tests.memory import AFTER, BEFORE
from tests.runtime.driving import Bench, Topics, all_batches, next_batch, single, topics_of

QUIET = plan_of()
HELLO = plan_of(
    rule("hello", when='login.channel == "web"'),
    rule("silent", silence="{of: logins, for: 30d}", kind="task", audience="team"),
)


def logins(number: int, clients: int = 5, **fields: str) -> Topics:
    return topics_of(login(at(0) + n, client_id=f"c{n % clients}", **fields) for n in range(number))


async def take_all(worker: Partition, topics: Topics, limit: int = 10) -> None:
    for batch in all_batches(topics, limit):
        await worker.take(batch)


def batch_at(topics: Topics, offsets: dict[str, int], limit: int) -> Batch:
    batch = next_batch(topics, offsets, limit)
    assert batch is not None
    return batch


def units(bench: Bench) -> list[ledger.Unit]:
    return [decode_unit(record) for _, record in bench.ledger.units()]


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
        assert len(bench.ledger.messages) == messages
    assert [len(unit.steps) for unit in units(bench)] == [3]
    assert worker.uncommitted


async def test_a_dead_letter_is_a_message():
    bench = Bench(QUIET)
    worker = await bench.started()
    await worker.take(single("trades", 4, b"c1", b"\xffnot json", 5))
    (letter,) = bench.ledger.messages
    assert (letter.topic, letter.key, letter.value) == ("dead-letters", b"c1", b"\xffnot json")
    headers = dict(letter.headers)
    assert headers.pop("engage_error").startswith(b"value: Invalid JSON")
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
    assert [m.topic for m in bench.ledger.messages] == ["dead-letters", "tier-changes"]


async def test_a_record_of_another_partition_is_passed_on_and_not_applied():
    bench = Bench(QUIET, belongs=lambda key: key == b"c1")
    worker = await bench.started()
    topics = topics_of([login(at(0), client_id="c1"), login(at(1), client_id="c2")])
    await take_all(worker, topics)
    (copy,) = bench.ledger.messages
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
    assert position.clients == 5_000


# -- ticks ----------------------------------------------------------------------------------------


async def test_a_tick_wakes_who_is_due_and_ends_the_unit():
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, topics_of(login(at(n), client_id=f"c{n}") for n in range(5)))
    await worker.commit("age")
    assert not await worker.tick(at(30) - 1)
    assert not await worker.tick(at(32))
    assert [m.key for m in bench.ledger.messages] == [b"c0", b"c1", b"c2"]
    assert units(bench)[-1].steps == (Step({}, at(32), ("c0", "c1", "c2")),)
    assert not await worker.tick(at(32))  # nobody twice
    assert len(units(bench)) == 2


async def test_a_tick_takes_a_bounded_number():
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, topics_of(login(at(0) + n, client_id=f"c{n}") for n in range(5)))
    await worker.commit("age")
    assert [await worker.tick(at(90), limit=2) for _ in range(4)] == [True, True, False, False]
    assert sorted(m.key or b"" for m in bench.ledger.messages) == [b"c0", b"c1", b"c2", b"c3", b"c4"]


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
    assert bench.ledger.messages == []


# -- what is refused ------------------------------------------------------------------------------


async def test_a_batch_that_does_not_begin_where_the_partition_stands():
    bench = Bench(QUIET)
    worker = await bench.started()
    first, second, third = all_batches(logins(30), 10)
    await worker.take(first)
    for wrong in (first, third, Batch([], {"logins": (9, 10)}, 0)):
        with pytest.raises(Surprised, match="does not begin where the partition stands"):
            await worker.take(wrong)
    await worker.take(second)  # and what was refused has left nothing behind
    await worker.commit("age")
    assert [step.ranges["logins"] for step in units(bench)[0].steps] == [(0, 10), (10, 20)]


async def test_a_redis_that_moved_is_noticed_before_deciding():
    bench = Bench(QUIET)
    worker = await bench.started()
    await take_all(worker, topics_of([login(at(0))]))
    await worker.commit("age")
    bench.data.lose(1)
    batch = batch_at(topics_of([login(at(0)), login(at(1), client_id="new")]), worker.offsets, 10)
    with pytest.raises(Surprised, match="Redis moved under this worker"):
        await worker.take(batch)


async def test_a_redis_that_moved_is_noticed_by_a_tick_though_no_event_comes():
    """What was lost is the very due time that the tick asks for."""
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, topics_of([login(at(0))]))
    await worker.commit("age")
    bench.data.lose(1)
    with pytest.raises(Surprised, match="Redis moved under this worker"):
        await worker.tick(at(31))
    await worker.recover()
    await worker.tick(at(31))
    assert [m.topic for m in bench.ledger.messages] == ["tasks"]


async def test_a_redis_that_moved_is_noticed_when_applying():
    bench = Bench(QUIET)
    worker = await bench.started()
    first, second = all_batches(topics_of([login(at(0)), login(at(1))]), 1)
    await worker.take(first)
    await worker.commit("age")
    states = bench.data.states()
    bench.data.lose(1)
    await worker.take(second)  # the client is in memory: nothing had to be loaded
    with pytest.raises(Surprised, match="not where this unit began"):
        await worker.commit("age")
    assert bench.data.states() == {}
    position = await worker.recover()  # the ledger holds both units
    assert position.offsets == {"logins": 2}
    assert bench.data.states().keys() == states.keys()
    assert bench.data.states() != states


async def test_a_zombie_changes_nothing():
    bench = Bench(HELLO)
    zombie = await bench.started()
    topics = topics_of([profile(at(0)), login(at(1), channel="web"), login(at(2), channel="web")])
    first, second, third = all_batches(topics, 1)
    await zombie.take(first)
    successor = await bench.started()
    await successor.take(first)
    await successor.take(second)
    before = bench.ledger.units(), bench.data.states(), bench.data.position
    with pytest.raises(Fenced):
        await zombie.take(second)
    with pytest.raises(Fenced):
        await zombie.commit("handover")
    assert (bench.ledger.units(), bench.data.states(), bench.data.position) == before
    await successor.take(third)
    assert len(bench.ledger.messages) == 2


async def taken(bench: Bench, number: int = 3) -> Partition:
    """A worker that has committed so many units."""
    worker = await bench.started()
    for batch in all_batches(logins(number), 1):
        await worker.take(batch)
        await worker.commit("age")
    return worker


async def test_a_ledger_that_lost_its_end_is_refused():
    bench = Bench(QUIET)
    await taken(bench)
    bench.ledger.lose(2)  # the last record and its marker
    with pytest.raises(Refused, match=r"partition 7: Redis stands at ledger offset 5 but the ledger holds 0 to 4: "
                       r"Kafka has lost the end of it\. Restore the topic, or the Redis backup"):  # fmt: skip
        await bench.worker().recover()


async def test_a_ledger_whose_end_was_lost_and_written_anew_is_refused():
    bench, other = Bench(QUIET), Bench(QUIET)
    await taken(bench)
    await taken(other, 2)
    worker = await other.started()
    await worker.take(batch_at(logins(9), worker.offsets, 7))
    await worker.commit("age")
    bench.ledger.records = other.ledger.records
    with pytest.raises(Refused, match="the ledger record at offset 4 is not the one that Redis applied last"):
        await bench.worker().recover()


async def test_a_ledger_without_the_last_record_is_refused():
    bench = Bench(QUIET)
    await taken(bench)
    bench.ledger.records[4] = None
    with pytest.raises(Refused, match="record before offset 5, the last that Redis applied, is missing: Kafka lost it"):
        await bench.worker().recover()


async def test_a_ledger_trimmed_beyond_what_redis_holds_is_refused():
    bench = Bench(QUIET)
    await taken(bench)
    bench.ledger.first = 4
    await bench.worker().recover()  # the last one applied is still held
    bench.data.lose(1)
    with pytest.raises(Refused, match="stands at ledger offset 3 but the ledger holds 4 to 6: its beginning was delet"):
        await bench.worker().recover()


async def test_an_emptied_redis_over_a_trimmed_ledger_is_refused():
    bench = Bench(QUIET)
    await taken(bench)
    bench.data.lose(3)
    bench.ledger.first = 2
    with pytest.raises(Refused, match="its beginning was deleted"):
        await bench.worker().recover()


async def test_a_ledger_that_does_not_follow_is_refused():
    bench, other = Bench(QUIET), Bench(HELLO)
    await taken(bench, 1)
    await taken(other, 3)
    bench.ledger.records += other.ledger.records[2:]
    with pytest.raises(Refused, match="the ledger record at offset 2 does not follow what Redis holds"):
        await bench.worker().recover()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"\xc1", "a ledger record cannot be read"),
        (b"{}", "a ledger record cannot be read"),
        (b"", "a ledger record cannot be read"),
        (b"\x91\x02", "a ledger record cannot be read"),
        (b"\x92\x01\x90", "written in format 1, this engine reads format 2"),
    ],
)
async def test_a_record_that_is_none_of_ours_is_refused(record, said):
    bench = Bench(QUIET)
    bench.ledger.records = [record, None]
    with pytest.raises(Refused, match=said):
        await bench.worker().recover()
    assert bench.data.position is None


# -- recovery -------------------------------------------------------------------------------------


async def test_the_first_start_begins_at_nothing():
    worker = await Bench(QUIET).started()
    assert (worker.position, worker.offsets) == (Position(), {})


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
async def test_a_start_applies_what_redis_lacks(lost):
    bench = Bench(QUIET)
    worker = await taken(bench)
    expected = bench.data.states(), bench.data.position
    bench.data.lose(lost)
    position = await bench.worker().recover()
    assert position == worker.position
    assert (bench.data.states(), bench.data.position) == expected
    assert bench.registry.get_sample_value("engage_recovered_units_total") == lost
    assert len(bench.ledger.units()) == 3  # a recovery decides and publishes nothing


async def test_published_and_not_applied():
    bench = Bench(HELLO, apply_faults=["", BEFORE])
    topics = topics_of([profile(at(0)), login(at(1), channel="web")])
    first, second = all_batches(topics, 1)
    worker = await bench.started()
    await worker.take(first)
    await worker.commit("age")
    with pytest.raises(Unavailable):
        await worker.take(second)
    assert len(bench.ledger.messages) == 1
    assert bench.data.states().keys() == {"c1"}
    await worker.recover()
    assert worker.offsets == {"profiles": 1, "logins": 1}
    assert next_batch(topics, worker.offsets, 10) is None
    assert len(bench.ledger.messages) == 1


async def test_an_apply_whose_answer_was_lost():
    bench = Bench(QUIET, apply_faults=[AFTER])
    worker = await bench.started()
    (batch,) = all_batches(logins(3), 10)
    await worker.take(batch)
    with pytest.raises(Unavailable):
        await worker.commit("age")
    await worker.recover()
    assert len(bench.data.applied) == 1
    assert worker.offsets == {"logins": 3}


async def test_after_a_failed_publish_nothing_of_the_unit_is_left():
    bench = Bench(HELLO, publish_faults=[BEFORE])
    worker = await bench.started()
    (batch,) = all_batches(topics_of([profile(at(0)), login(at(1), channel="web")]), 10)
    with pytest.raises(Unavailable):
        await worker.take(batch)
    await worker.recover()
    assert worker.cached == 0
    assert not worker.uncommitted
    assert (worker.reached_ms, worker.reached_event_ms) == (0, 0)  # by which a tick would run ahead of the batch
    await worker.take(batch)
    assert len(bench.ledger.messages) == 1
    await worker.recover()
    assert worker.reached_event_ms == at(1)  # that was committed: with the clock of events, ticks go on from there


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
    assert bench.ledger.messages == []
    await worker.commit("age")
    await worker.take(third)
    assert len(bench.ledger.messages) == 1
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
    assert len(bench.ledger.messages) == 1


async def test_the_cache_keeps_its_bound_while_a_batch_is_decided():
    """Two million records of 100,000 clients waiting: before, each batch's clients came on top of a full cache."""
    bench = Bench(QUIET, cache_bytes=60_000)
    worker = await bench.started()
    for batch in all_batches(logins(100, clients=100), 8):
        await worker.take(batch)
        assert worker.cached <= max(worker._cache.limit, 8)
        await worker.commit("age")
    assert 8 < worker.cached == worker._cache.limit < 20
    assert worker.position.clients == 100
    topics = topics_of([login(at(0) + n, client_id=f"c{n if n < 100 else n - 10}") for n in range(114)])
    await worker.take(batch_at(topics, worker.offsets, 1000))
    assert set(worker._cache) >= {f"c{n}" for n in range(90, 104)}  # what is not committed is kept, bound or no bound


async def test_the_cache_keeps_its_bound_and_those_used_last():
    bench = Bench(QUIET, cache_bytes=60_000)
    worker = await bench.started()
    for batch in all_batches(logins(100, clients=100), 20):
        await worker.take(batch)
        await worker.commit("age")
        assert worker.cached == worker._cache.limit < 20
    assert set(worker._cache) == {f"c{n}" for n in range(100 - worker.cached, 100)}
    assert worker.position.clients == 100  # those that left the cache are not counted anew
    topics = topics_of([login(at(0) + n, client_id=f"c{n % 100}") for n in range(200)])
    await worker.take(batch_at(topics, worker.offsets, 1000))
    await worker.commit("age")
    assert worker.position.clients == 100


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
    assert (worker.position.clients, worker.position.tiers) == (5, {"A": 1, "B": 2, "C": 1})
    assert tier_clients(bench) == {"A": 1, "B": 2, "C": 1}
    topics = {"balances": topics_of([balance(at(60), 10**8, client_id="c3")])["balances"]}
    topics["balances"][0].offset = 4
    await worker.take(batch_at(topics, worker.offsets, 9))
    assert worker.position.tiers == {"A": 2, "B": 2}
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
    assert sample("engage_events_total", {"topic": "logins"}) is None
    await worker.recover()
    await worker.take(batch)
    assert sample("engage_events_total", {"topic": "logins"}) == 2
    assert sample("engage_rejected_total", {"topic": "trades", "reason": "wrong_type"}) == 1
    assert sample("engage_decisions_total", {"rule": "hello", "outcome": Outcome.SENT}) == 1
    assert sample("engage_decisions_total", {"rule": "hello", "outcome": Outcome.COOLDOWN}) == 1
    assert sample("engage_units_total", {"cause": "messages"}) == 1


def test_a_position_reads_its_own_bytes():
    position = Position(7, "ab", {"trades": 3, "logins": 1}, 9, {"C": 1, "A": 2}, "d")
    assert Position.from_bytes(position.to_bytes()) == position
    other = Position(7, "ab", {"logins": 1, "trades": 3}, 9, {"A": 2, "C": 1}, "d")
    assert other.to_bytes() == position.to_bytes()  # compared byte by byte, so the order must not show


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


@pytest.mark.parametrize("state", [b"", b"garbage", b"\x96\x01\x02\x03\x04\x05\x06", b"\x93\x02\x03\x04"])
async def test_a_state_that_cannot_be_read_is_refused(state: bytes):
    bench = Bench(QUIET)
    worker = await bench.started()
    await take_all(worker, logins(5))
    await worker.commit("age")
    bench.data.applied[-1][1][0][2] = state
    with pytest.raises(Refused, match=r"partition 7: the state of client c0 in Redis cannot be read .* rebuild"):
        await take_all(await bench.started(), topics_of([balance(at(9), 1, client_id="c0")]))
