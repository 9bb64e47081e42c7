"""The auditor of tests/faults can see: all is well after an undisturbed run, and each thing then put wrong is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS
from engine.runtime.redis.keys import position_key, tag
from tests.faults.auditor import Audit, audit
from tests.faults.load import Load
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation, Sent
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


def findings(found: Audit, text: str) -> list[str]:
    return [finding for finding in found.findings if text in finding]


@pytest.mark.short
@pytest.mark.kafka
def test_the_auditor_sees_what_is_wrong(install: MakeInstallation) -> None:
    with RedisServer() as redis_server:  # of its own: what else is in it is the auditor's to find
        see_what_is_wrong(install(redis_url=redis_server.url, clock="wall").create_topics())


def see_what_is_wrong(engine: Installation) -> None:
    worker = engine.worker().wait_ready()
    load = Load(engine, 7, 1_500, engine.directory / "produced.ndjson", clients=300, count=RECORDS).start()
    load.join()
    engine.settle()
    worker.stop()
    found = audit(engine, load.acknowledged)
    assert found.findings == []
    assert (found.lost, found.doubled) == (0, 0)
    assert found.counted["records"] == load.produced
    assert min(found.counted[name] for name in ("rerouted", "dead_letters", "actions", "units")) > 10
    for put_wrong, kind, text in WRONGS:
        before = found
        assert not findings(before, text)
        put_wrong(engine)
        found = audit(engine, load.acknowledged)
        assert findings(found, text), f"{put_wrong.__name__} was not found: {found.findings}"
        if kind:
            assert getattr(found, kind) == getattr(before, kind) + 1
