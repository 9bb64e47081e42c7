"""What a fetch names as a part of a session: what is new since the last one, and what is no longer asked."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol import fetch
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from engine.runtime.kafka.wire.sessions import Asked, Fetch, Session, end_of

TRADES, LOGINS, PROFILES = (TopicPartition(topic, 3) for topic in ("trades", "logins", "profiles"))
ASKED = {TRADES: Asked(6, 65_536), LOGINS: Asked(2, 65_536)}
VERSIONS = (fetch.FetchRequest_v7, fetch.FetchRequest_v9, fetch.FetchRequest_v11)


def built(version: Any, session: Session) -> Any:
    news, gone = {TRADES: ASKED[TRADES]}, {PROFILES}
    return Fetch(session, ASKED, news, gone, wait_ms=100, isolation=1).build(version)


def named(request: Any) -> dict[str, int]:
    """Topics and offsets; the offset is after the partition and, from version 9 on, the leader's epoch."""
    place = 2 if request.API_VERSION >= 9 else 1
    return {topic: partitions[0][place] for topic, partitions in request.topics}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_fetch_names_all_and_asks_for_a_session(version):
    request = built(version, Session())
    assert named(request) == {"trades": 6, "logins": 2}
    assert (request.session_id, request.session_epoch, request.forgotten_topics_data) == (0, 0, [])
    assert request.encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_next_one_names_what_is_new_and_what_is_not_asked_now(version):
    request = built(version, Session(77, 4))
    assert named(request) == {"trades": 6}
    assert (request.session_id, request.session_epoch) == (77, 4)
    assert request.forgotten_topics_data == [("profiles", [3])]
    assert request.encode()


def test_a_broker_without_sessions_is_asked_for_all():
    request = built(fetch.FetchRequest_v4, Session())
    assert {topic: partitions[0][1] for topic, partitions in request.topics} == {"trades": 6, "logins": 2}


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (fetch.FetchResponse_v11(0, 0, 77, []), Session(77, 5)),
        (fetch.FetchResponse_v11(0, 70, 0, []), Session()),  # the broker does not know it
        (fetch.FetchResponse_v11(0, 71, 77, []), Session()),  # an epoch is not the next one
        (fetch.FetchResponse_v11(0, 0, 0, []), Session()),  # the broker has too many
        (fetch.FetchResponse_v4(0, []), Session()),
    ],
)
def test_a_session_goes_on_or_begins_anew(answer, then):
    session = Session(77, 4)
    assert session.goes_on(answer) == (then != Session())
    assert session == then


def batch(first: int, records: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 100_000)
    for offset in range(records):
        builder.append(offset, 5, b"key", b"value", [])
    data = builder.build()
    return first.to_bytes(8, "big") + bytes(data[8:])


def test_batches_end_after_the_last_whole_one():
    assert end_of(b"") is None
    assert end_of(batch(40, 3)) == 43
    assert end_of(batch(40, 3) + batch(50, 1)) == 51
    for cut in (1, 10, len(batch(50, 1)) - 1):
        assert end_of(batch(40, 3) + batch(50, 1)[:cut]) == 43
    assert end_of(batch(40, 3)[:-1]) is None


def test_an_old_format_does_not_say_where_it_ends():
    builder = LegacyRecordBatchBuilder(1, 0, 100_000)
    for offset in range(3):
        builder.append(offset, 5, b"key", b"a value that is longer than the head of a batch")
    assert end_of(bytes(builder.build())) is None
