"""What release 0.1.0 wrote, read by this version: positions, ledger, snapshots, rule sets; a partition that goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import pytest

from engine.core.client.sections import pack, unpack
from engine.core.contract.message import Message
from engine.core.decide.path import Due
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan
from engine.operations import snapshot
from engine.operations.replay import PartitionReplay, Replayed
from engine.processors.engagement import ENGAGEMENT
from engine.runtime import formats
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import Step, decode_unit, digest_of
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.writes import Write, decode_writes, from_0_1
from engine.runtime.redis.reading import NO_RULES
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import load
from tests.fixtures import loading, reading
from tests.fixtures.loading import PARTITIONS, facts, golden
from tests.fixtures.reading import plain
from tests.runtime.driving import Bench, ConsumerRecord, Faultless, Recorded, Topics, all_batches, take_turns
from tests.versions import neighbour

every_partition = pytest.mark.parametrize("number", range(PARTITIONS))


def units_of(number: int) -> list[tuple[int, bytes]]:
    return [(offset, record) for offset, record in enumerate(loading.ledger_slots(number)) if record is not None]


def stored(number: int) -> tuple[bytes, list[Write]]:
    """Position and writes as Redis held them at the end."""
    position, rows = loading.store_rows(number)
    return position, list(decode_writes(from_0_1(msgpack.packb(rows, use_bin_type=False))))


@cache
def archive() -> RuleSetArchive:
    made = RuleSetArchive(load(), Clients())
    for record in loading.records("rule-sets"):
        made.add(record.key, record.value)
    return made


def plan_in_force() -> Plan:
    return archive().plan(facts()["rule_sets"][facts()["in_force"]])


# -- what each record says ------------------------------------------------------------------------


FORMER = {"clients": "states", "tiers": "tallies"}


def as_today(meaning: dict[str, Any]) -> dict[str, Any]:
    """What 0.1.0 read, by the present names."""
    return {FORMER.get(name, name): value for name, value in meaning.items()}


def test_positions() -> None:
    for pair in golden("position"):
        read = Position.read(pair.data)
        assert reading.position(read) == as_today(pair.meaning) | {"pace": {}}
        assert read.text == pair.data  # as it is: workers compare it byte by byte


NO_STEP = plain(asdict(Step({})))  # of what 0.1.0 had no word for, nothing


def test_units() -> None:
    for pair in golden("unit"):
        meaning = as_today(pair.meaning) | {"semantics": 1, "pace": {}}
        assert digest_of(pair.data) == meaning.pop("digest")
        meaning["steps"] = [NO_STEP | step for step in meaning["steps"]]
        assert reading.unit(decode_unit(pair.data)) == meaning, pair.name


@every_partition
def test_each_unit_leads_to_where_the_next_begins(number: int) -> None:
    text = b""
    for offset, record in units_of(number):
        unit = decode_unit(record)
        assert unit.begin == text, offset
        text = unit.leads_to(offset, record).text
    assert text == stored(number)[0]


@pytest.mark.parametrize("which", ["middle", "end"])
def test_snapshots(tmp_path: Path, which: str) -> None:
    first, *wanted, _ = next(pair.meaning for pair in golden("snapshot") if pair.name == which)
    (tmp_path / "s").write_bytes(loading.snapshot(which == "middle"))
    header, _ = snapshot.read(tmp_path / "s")
    assert (header.app_id, header.partitions) == (first["app_id"], first["partitions"])
    assert reading.snapshot_rows(tmp_path / "s") == wanted


def test_a_snapshot_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    whole = loading.snapshot()
    changed = whole.replace(b"individual", b"indivisual", 1)
    for damaged in (whole[:-1], whole[: len(whole) // 2], changed):
        (tmp_path / "s").write_bytes(damaged)
        with pytest.raises(Refused, match="the snapshot is not whole, or was changed: take another"):
            snapshot.read(tmp_path / "s")


def test_rule_sets() -> None:
    for entry, pair in zip(archive().history, golden("rule-set"), strict=True):
        found = plain(asdict(entry))
        assert {name: value for name, value in found.items() if name in pair.meaning} == pair.meaning
        assert not any(value for name, value in found.items() if name not in pair.meaning)
    for which, digest in facts()["rule_sets"].items():
        assert archive().files(digest) == loading.rules(which)
        assert archive().plan(digest).rule_set.digest == digest
    assert archive().head == facts()["rule_sets"][facts()["in_force"]]
    assert archive().newer is None


# -- a partition ------------------------------------------------------------------------------------


@every_partition
async def test_the_ledger_leads_to_what_redis_held(number: int) -> None:
    bench = Bench(NO_RULES)
    bench.ledger.records = loading.ledger_slots(number)
    await bench.started()
    position, rows = stored(number)
    assert bench.data.position == position
    assert bench.data.rows() == {write.key: write for write in rows}


@every_partition
async def test_redis_needs_nothing_of_the_ledger(number: int) -> None:
    bench = Bench(NO_RULES)
    bench.ledger.records = loading.ledger_slots(number)
    bench.data.applied.append(stored(number))
    await bench.started()
    assert len(bench.data.applied) == 1


def inbound_of(number: int) -> Topics:
    """What came in on a partition."""
    topics: Topics = {topic: [] for topic in (*loading.INBOUND, "rerouted")}
    for r in loading.records(*topics):
        if r.partition == number:
            headers = [(name, value or b"") for name, value in r.headers]
            topics[r.topic].append(ConsumerRecord(r.offset, r.timestamp_ms, r.key, r.value, headers, number))
    return topics


def belongs_to(number: int) -> Callable[[bytes], bool]:
    partition_of = partitioner(PARTITIONS)
    return lambda key: partition_of(key) == number


def as_now(bench: Bench) -> dict[str, bytes]:
    """The states as this version writes them: those of clients that were not touched stay as they are."""
    layout = plan_in_force().layout
    return {id_: pack(layout, unpack(layout, state)) for id_, state in bench.data.states().items()}


def by_client_and_topic(messages: Iterable[Message]) -> dict[tuple[bytes, str], list[bytes | None]]:
    """A batch's dead letters come before its actions."""
    found = defaultdict(list)
    for message in messages:
        found[message.key, message.topic].append(message.value)
    return dict(found)


BEHIND = 6  # units of the ledger that Redis lacks


def left_by_0_1(number: int) -> Bench:
    """A partition half way, of a worker of 0.1.0 that ended before Redis had its last units."""
    units = units_of(number)
    middle = len(units) // 2
    offset, record = units[middle - 1 - BEHIND]
    bench = Bench(plan_in_force(), belongs=belongs_to(number))
    bench.ledger.records = loading.ledger_slots(number, until=units[middle][0])
    writes = [write for _, earlier in units[: middle - BEHIND] for write in decode_writes(decode_unit(earlier).writes)]
    bench.data.applied.append((decode_unit(record).leads_to(offset, record).text, writes))
    return bench


@every_partition
@pytest.mark.parametrize("versions", [[nullcontext], [nullcontext, neighbour]])
async def test_a_partition_goes_on(number: int, versions: Sequence[Callable[[], AbstractContextManager[None]]]) -> None:
    """Its records are decided from where the last unit of 0.1.0 ends, each once, on the states it left."""
    bench, plan = left_by_0_1(number), plan_in_force()
    worker = await bench.started()
    assert worker.recovered_units == BEHIND
    assert "format" not in json.loads(bench.data.position or b"")  # as 0.1.0 would have written it
    begin = worker.offsets
    rest = {t: [r for r in records if r.offset >= begin[t]] for t, records in inbound_of(number).items()}
    assert sum(map(len, rest.values())) > 100
    left = [unpack(plan.layout, state) for state in bench.data.states().values()]
    faultless = Faultless(plan, rest, belongs_to(number), left)

    await take_turns(bench, all_batches(rest, 20, begin), versions)
    worker = await bench.started()
    assert as_now(bench) == faultless.states
    assert by_client_and_topic(bench.ledger.messages) == by_client_and_topic(faultless.messages)
    assert json.loads(bench.data.position or b"")["format"] == formats.POSITION_FORMAT

    rows = sorted((w.due_ms, w.key) for w in bench.data.rows().values() if w.due_ms < NEVER_MS)
    assert len(rows) > 5
    last_ms, _ = rows[-1]
    await worker.tick(last_ms)
    faultless.tick([Due(client_id, last_ms) for _, client_id in rows])
    assert as_now(bench) == faultless.states
    assert by_client_and_topic(bench.ledger.messages) == by_client_and_topic(faultless.messages)
    assert worker.position.states == len(faultless.states)


@every_partition
async def test_a_replay_begins_where_0_1_ended(number: int) -> None:
    bench, topics = left_by_0_1(number), inbound_of(number)
    before = len(bench.ledger.units())
    worker = await bench.started()
    passed = sum(worker.offsets.values())
    await take_turns(bench, all_batches(topics, 20, worker.offsets), [nullcontext])
    await bench.started()
    inputs, replayed = Recorded(topics), Replayed()
    replaying = PartitionReplay(ENGAGEMENT, number, inputs, archive().plan, belongs_to(number), replayed)
    decided = [message for unit in bench.ledger.units() for message in await replaying.take(*unit)]
    assert replayed.differences == []
    assert (replayed.applied, replayed.units) == (before, len(bench.ledger.units()) - before)
    assert inputs.passed == passed
    assert replaying.states.packed() == bench.data.states()
    assert decided == bench.ledger.messages
