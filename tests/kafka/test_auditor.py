"""The auditor of tests/faults can see: all is well after an undisturbed run, and each thing then put wrong is found."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from engine.core.assign.state import Entry, PoolState, Task, pack, unpack
from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, POOL_TOPICS
from engine.core.decide.pools import OF_BUDGETS
from engine.runtime.protocol.writes import decode_writes, encode_writes
from engine.runtime.redis.keys import position_key, tag
from engine.runtime.settings import OF_POOLS
from tests.faults import budgets, pools
from tests.faults.auditor import Audit, audit
from tests.faults.load import Load
from tests.faults.pools import ANSWERS, REQUESTS
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import RULES, Installation, Sent
from tests.services.redis import RedisServer

RECORDS = 3_000


def again(topics: tuple[str, ...]) -> Callable[[Installation], None]:
    """Publish the first record of these topics once more."""

    def put_wrong(engine: Installation) -> None:
        record = engine.read(*topics)[0]
        producer = engine.producer()
        producer.produce(
            engine.settings.topic(record.topic),
            key=record.key,
            value=record.value,
            headers=list(record.headers.items()),
        )
        producer.flush(120)

    return put_wrong


def unseen_record(engine: Installation) -> None:
    engine.produce([Sent("logins", b"C1", b"{}")])


def lost_client(engine: Installation) -> None:
    with engine.redis() as client:
        client.delete(next(client.scan_iter(f"{tag(engine.name, 1)}:client:*")))


def other_state(engine: Installation) -> None:
    with engine.redis() as client:
        client.hset(next(client.scan_iter(f"{tag(engine.name, 2)}:client:*")), "tier", "Z")


def earlier_position(engine: Installation) -> None:
    with engine.redis() as client:
        key = position_key(engine.name, 0)
        client.set(key, client.get(key).replace(b'"ledger":', b'"ledger":1'))


def stray_key(engine: Installation) -> None:
    with engine.redis() as client:
        client.hset(f"{tag(engine.name, 3)}:client:NOBODY", "state", "x")


def doubled_unit(engine: Installation) -> None:
    record = next(r for r in engine.read(f"{engine.name}-ledger") if r.partition == 1)
    producer = engine.producer()
    producer.produce(engine.settings.ledger_topic, value=record.value, partition=1)
    producer.flush(120)


def lost_pool(engine: Installation) -> None:
    with engine.redis() as client:
        client.delete(next(client.scan_iter(f"{{{engine.name}-assignment:*}}:client:*")))


def overloaded(engine: Installation) -> None:
    """An advisor has ever so many clients."""
    as_it_never_was(engine, "east", lambda pool, n: pool.enter(f"x{n}", Entry("east-0", 1, f"r{n}")))


def overworked(engine: Installation) -> None:
    """An advisor has ever so many open tasks."""
    as_it_never_was(engine, "central", lambda pool, n: pool.put(f"r{n}", Task(1, 1, f"x{n}", "central-0", given_ms=1)))


def as_it_never_was(engine: Installation, name: str, enter: Callable[[PoolState, int], None]) -> None:
    """A unit of the pools' ledger in which this pool has more than it was given."""
    ledger = engine.settings.scoped(*OF_POOLS).ledger_topic
    record, version, fields, write = next(
        (record, version, fields, write)
        for record in engine.read(ledger.removeprefix(engine.settings.prefix))
        for version, fields in [msgpack.unpackb(record.value or b"")]
        for write in decode_writes(fields["writes"])
        if write.key == name
    )
    pool = unpack(write.state)
    for number in range(200):
        enter(pool, number)
    (fields["writes"],) = encode_writes([write._replace(state=pack(pool))])
    producer = engine.producer()
    producer.produce(ledger, value=msgpack.packb([version, fields]), partition=record.partition)
    producer.flush(120)


# what was put wrong stays: each adds findings that were not there before
WRONGS: list[tuple[Callable[[Installation], None], str, str]] = [
    (lost_client, "", "keys that Redis lacks"),
    (other_state, "", "keys whose value is not what the ledger wrote last"),
    (earlier_position, "", "2 keys whose value is not what the ledger wrote last"),
    (stray_key, "", "keys in Redis that the ledger never wrote"),
    (again(OUTBOUND), "doubled", "action ids were published more than once"),
    (again((DEAD_LETTERS,)), "doubled", "dead letters: 1 too many"),
    (unseen_record, "lost", "1 inbound records were never decided"),
    (doubled_unit, "", "does not begin where the unit before it ended"),
]

WRONGS_OF_POOLS: list[tuple[Callable[[Installation], None], str, str]] = [
    (lost_pool, "", "keys that Redis lacks"),
    (again((ANSWERS,)), "doubled", "assignment_answers: 1 too many"),
    (again((REQUESTS,)), "doubled", "assignment_requests: 1 too many"),
    (again((OF_BUDGETS,)), "", "was asked 1 times, has 2 answers"),
    (overloaded, "", "advisors have more than fits"),
    (overworked, "", "open tasks of 1"),
]


def findings(found: Audit, text: str) -> list[str]:
    return [finding for finding in found.findings if text in finding]


@pytest.mark.short
@pytest.mark.kafka
def test_the_auditor_sees_what_is_wrong(install: MakeInstallation) -> None:
    with RedisServer() as redis_server:  # of its own: what else is in it is the auditor's to find
        engine = install(redis_url=redis_server.url, clock="wall").create_topics()
        see_what_is_wrong(engine, RULES, WRONGS)


@pytest.mark.kafka
def test_the_auditor_sees_what_is_wrong_of_pools(install: MakeInstallation, tmp_path: Path) -> None:
    rules = shutil.copytree(RULES, tmp_path / "rules")
    pools.write(rules, dt.date.today())
    budgets.write(rules)
    with RedisServer() as redis_server:
        engine = install(redis_url=redis_server.url, clock="wall").create_topics()
        engine.further = {f"{engine.name}-assignment": tuple(POOL_TOPICS)}
        found = see_what_is_wrong(engine, rules, WRONGS_OF_POOLS)
    assert min(found.counted["requests"], found.counted["answers"]) > 50
    assert min(found.counted["budget_parts"], found.counted["tasks: room"]) > 0


def see_what_is_wrong(engine: Installation, rules: Path, wrongs: list[tuple[Callable[..., None], str, str]]) -> Audit:
    worker = engine.worker(rules=rules).wait_ready()
    load = Load(engine, 7, 1_500, engine.directory / "produced.ndjson", clients=300, count=RECORDS).start()
    load.join()
    engine.settle()
    worker.stop()
    found = audit(engine, load.acknowledged)
    assert found.findings == []
    assert (found.lost, found.doubled) == (0, 0)
    assert found.counted["records"] == load.produced
    assert min(found.counted[name] for name in ("rerouted", "dead_letters", "actions", "units")) > 10
    for put_wrong, kind, text in wrongs:
        before = found
        assert not findings(before, text)
        put_wrong(engine)
        found = audit(engine, load.acknowledged)
        assert findings(found, text), f"{put_wrong.__name__} was not found: {found.findings}"
        if kind:
            assert getattr(found, kind) == getattr(before, kind) + 1
    return found
