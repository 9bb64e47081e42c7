"""One partition: what it refuses to go on with, and what a start makes good."""

from __future__ import annotations

import msgpack
import pytest

from engine.runtime.errors import Fenced, Refused, Surprised, Unavailable
from engine.runtime.protocol.intake import Batch
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.position import Position
from tests.core.making import at, balance, login, profile
from tests.memory import AFTER, BEFORE
from tests.runtime.driving import (
    HELLO,
    QUIET,
    Bench,
    all_batches,
    batch_at,
    logins,
    next_batch,
    take_all,
    topics_of,
    units,
)

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
    assert [m.topic for m in bench.ledger.acts] == ["tasks"]


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
    assert len(bench.ledger.acts) == 2


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
        (b"\x92\x01\x90", "a ledger record cannot be read"),
    ],
)
async def test_a_record_that_is_none_of_ours_is_refused(record, said):
    bench = Bench(QUIET)
    bench.ledger.records = [record, None]
    with pytest.raises(Refused, match=said):
        await bench.worker().recover()
    assert bench.data.position is None


@pytest.mark.parametrize("state", [b"", b"garbage", b"\x96\x01\x02\x03\x04\x05\x06", b"\x93\x02\x03\x04"])
async def test_a_state_that_cannot_be_read_is_refused(state: bytes):
    bench = Bench(QUIET)
    worker = await bench.started()
    await take_all(worker, logins(5))
    await worker.commit("age")
    rows = bench.data.applied[-1][1]
    rows[0] = rows[0]._replace(state=state)
    with pytest.raises(Refused, match=r"partition 7: the state of client c0 in Redis cannot be read .* rebuild"):
        await take_all(await bench.started(), topics_of([balance(at(9), 1, client_id="c0")]))


async def test_what_a_state_holds_of_one_topic_is_read_when_an_event_asks_for_it_and_refused_then():
    bench = Bench(QUIET)
    worker = await bench.started()
    *batches, last = all_batches(logins(6), 1)
    for batch in batches:
        await worker.take(batch)
    await worker.commit("age")
    rows = bench.data.applied[-1][1]
    version, client_id, sections = msgpack.unpackb(rows[0].state, strict_map_key=False)
    of_topic, _, mark = sections["@logins"]
    sections["@logins"] = of_topic, b"garbage", mark
    rows[0] = rows[0]._replace(state=msgpack.packb([version, client_id, sections]))
    with pytest.raises(Refused, match=r"cannot be read \(logins of client c0: .* rebuild"):
        await (await bench.started()).take(last)


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
    assert len(bench.ledger.acts) == 1
    assert bench.data.states().keys() == {"c1"}
    await worker.recover()
    assert worker.offsets == {"profiles": 1, "logins": 1}
    assert next_batch(topics, worker.offsets, 10) is None
    assert len(bench.ledger.acts) == 1


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
    assert len(bench.ledger.acts) == 1
    await worker.recover()
    assert worker.reached_event_ms == at(1)  # that was committed: with the clock of events, ticks go on from there
