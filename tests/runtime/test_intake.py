"""Intake: which record comes first, who waits for whom, what becomes of a record that is no event."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from engine.core.contract.events import Login
from engine.core.contract.message import Message
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import intake_topics
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, Rejected, Taken, decode
from engine.runtime.protocol.intake import MAX_BATCH_BYTES, Batch, Merger
from engine.runtime.protocol.records import Inbound, inbound, read
from tests.core.making import at, login, same_event
from tests.runtime.driving import ConsumerRecord, topics_of


def merger(**topics: list[int]) -> Merger:
    """Topics with records at these times, read to their ends."""
    made = Merger(dict.fromkeys(intake_topics(), 0))
    for topic, times in topics.items():
        records = [ConsumerRecord(offset, time) for offset, time in enumerate(times)]
        made.add(topic, records, len(records), len(records))
    return made


def order(merger: Merger, limit: int = 100) -> list[str]:
    batch = merger.cut(limit)
    return [f"{record.topic} {record.offset}" for record in batch.records] if batch else []


def test_by_time_and_ties_in_the_order_of_the_contract():
    merged = order(merger(trades=[1, 5], logins=[5, 5], balances=[5], profiles=[5, 6]))
    assert merged == ["trades 0", "profiles 0", "balances 0", "logins 0", "logins 1", "trades 1", "profiles 1"]


def test_a_topics_own_order_is_kept_though_its_times_fall():
    assert order(merger(trades=[9, 1, 5], logins=[4])) == ["logins 0", "trades 0", "trades 1", "trades 2"]


def test_a_topic_that_lags_holds_the_others_back():
    m = merger(logins=[10, 20, 30])
    m.add("trades", [ConsumerRecord(0, 12)], 1, 5)  # four more, none of them known to be later than 12
    assert order(m) == ["logins 0", "trades 0"]
    assert m.lacking() == ["trades"]
    m.add("trades", [ConsumerRecord(1, 25)], 2, 5)
    assert order(m) == ["logins 1", "trades 1"]
    m.add("trades", [], 5, 5)  # what was left was markers
    assert m.lacking() == []
    assert order(m) == ["logins 2"]
    assert m.caught_up


def test_what_is_still_to_come_at_the_same_time_goes_first_if_its_topic_does():
    """Else the order within a millisecond would hang on which topic was fetched first."""
    m = merger(logins=[10], trades=[10])
    m.add("balances", [ConsumerRecord(0, 10)], 1, 2)
    assert order(m) == ["balances 0"]
    m.add("balances", [ConsumerRecord(1, 10)], 2, 2)
    assert order(m) == ["balances 1", "logins 0", "trades 0"]


def test_markers_at_the_end_of_a_topic_belong_to_the_batch_that_empties_it():
    m = Merger(dict.fromkeys(intake_topics(), 0))
    m.add("trades", [ConsumerRecord(2, 5), ConsumerRecord(4, 6)], 7, 7)
    first, second = m.cut(1), m.cut(1)
    assert first is not None
    assert second is not None
    assert (first.ranges, second.ranges) == ({"trades": (0, 3)}, {"trades": (3, 7)})
    assert (first.waiting, second.waiting) == (4, 0)
    assert m.lag() == dict.fromkeys(intake_topics(), 0)


def test_nothing_but_markers_is_a_batch_without_records():
    """A position that stayed before them would look as if events were missing once Kafka has deleted them."""
    m = Merger(dict.fromkeys(intake_topics(), 0))
    m.add("trades", [], 3, 3)
    assert m.caught_up
    assert m.cut(10) == Batch([], {"trades": (0, 3)}, 0)
    assert m.cut(10) is None
    assert m.lag() == dict.fromkeys(intake_topics(), 0)


def test_lag_is_what_is_not_yet_in_a_batch():
    m = merger(trades=[1, 2, 3])
    m.add("logins", [ConsumerRecord(0, 2)], 1, 10)
    assert m.lag() == {**dict.fromkeys(intake_topics(), 0), "trades": 3, "logins": 10}
    m.cut(2)
    assert m.lag() == {**dict.fromkeys(intake_topics(), 0), "trades": 2, "logins": 9}


def test_a_batch_is_bounded_in_bytes():
    m = Merger(dict.fromkeys(intake_topics(), 0))
    value = b"x" * (MAX_BATCH_BYTES // 3)
    m.add("trades", [ConsumerRecord(n, n, value=value) for n in range(7)], 7, 7)
    sizes = []
    while batch := m.cut(100):
        sizes.append(len(batch.records))
        assert batch.size_bytes < MAX_BATCH_BYTES + len(value) + 1000
    assert sizes == [3, 3, 1]


# -- one record -----------------------------------------------------------------------------------


def good(**fields: Any) -> Inbound:
    record = topics_of([login(at(0))])["logins"][0]
    return Inbound("logins", 3, 9, **{"timestamp_ms": record.timestamp, "key": b"c1", "value": record.value, **fields})


def everyone(key: bytes) -> bool:
    return True


def nobody(key: bytes) -> bool:
    return False


def aside(record: Inbound, belongs: Callable[[bytes], bool]) -> Message:
    """What is published of a record that is not decided."""
    outcome = read(record, belongs, decode)
    assert not isinstance(outcome, Taken)
    return record.set_aside(outcome)


def reason(message: object) -> str:
    assert isinstance(message, Message)
    assert message.topic == "dead-letters"
    return dict(message.headers)["engage_reason"].decode()


def test_a_good_record_is_its_event():
    record = good()
    taken = read(record, everyone, decode)
    assert isinstance(taken, Taken)
    assert same_event(taken, Login.model_validate_json(record.value or b""))


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("ce_specversion", b"1.0")], "by its headers CloudEvents in binary mode"),
        ([("content-type", b"avro/binary")], "by its headers avro"),
        ([("traceparent", b"hunter2")], ""),
    ],
)
def test_a_refused_record_is_also_named_by_its_headers(headers, said):
    record = replace(good(), value=b'{"symbol": "600000"}', headers=headers)
    result = read(record, everyone, decode)
    assert isinstance(result, Rejected)
    assert said in result.error
    assert ("by its headers" in result.error) is bool(said)
    assert isinstance(read(replace(good(), headers=headers), everyone, decode), Taken)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"key": None}, Rejection.NO_KEY),
        ({"value": None}, Rejection.NO_VALUE),
        ({"value": b"\xff"}, Rejection.NOT_JSON),
        ({"key": b"other"}, Rejection.KEY_MISMATCH),
        ({"timestamp_ms": at(0) - FUTURE_TOLERANCE_MS - 1}, Rejection.FUTURE),
        ({"value": b"x" * 70_000}, Rejection.TOO_LARGE),
    ],
)
def test_a_dead_letter_carries_the_original_bytes_and_where_they_were(fields, expected):
    record = good(**fields)
    letter = aside(record, everyone)
    assert reason(letter) == expected
    assert isinstance(letter, Message)
    assert (letter.key, letter.value) == (record.key, record.value)
    headers = dict(letter.headers)
    assert headers["engage_topic"] == b"logins"
    assert headers["engage_partition"] == b"3"
    assert headers["engage_offset"] == b"9"
    assert headers["engage_timestamp"] == str(record.timestamp_ms).encode()


def test_a_letter_larger_than_its_topic_takes_is_packed():
    """A record that came compressed may have any size."""
    record = good(key=b"k" * 9_000_000, value=b"x" * 9_000_000)
    letter, again = aside(record, everyone), aside(record, everyone)
    assert isinstance(letter, Message)
    assert letter == again
    assert (gzip.decompress(letter.key or b""), gzip.decompress(letter.value or b"")) == (record.key, record.value)
    assert len(letter.value or b"") < 100_000
    assert dict(letter.headers)["engage_encoding"] == b"gzip"
    keyless = aside(good(key=None, value=b"x" * 16_000_000), everyone)
    assert isinstance(keyless, Message)
    assert keyless.key is None


def copied(message: Message, partition: int = 5) -> Inbound:
    """The copy as the consumer of the right partition gets it."""
    record = ConsumerRecord(77, 999, message.key, message.value, message.headers, partition)
    return next(inbound("rerouted", [record]))


def test_a_record_of_another_partition_is_copied_once_with_its_origin():
    record = good()
    copy = aside(record, nobody)
    assert isinstance(copy, Message)
    assert copy.topic == "rerouted"
    arrived = copied(copy)
    assert (arrived.topic, arrived.partition, arrived.offset, arrived.timestamp_ms) == ("logins", 3, 9, at(0))
    assert read(arrived, everyone, decode) == read(record, everyone, decode)


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ([("trace", b"1"), ("content-type", b"application/json")], ["trace", "content-type"]),
        ([("trace", b"1"), ("trace", b"2")], ["trace", "trace"]),
        ([("trace", None), ("�", b"\xff"), ("", b"")], ["trace", "�", ""]),
        ([("engage_topic", b"profiles"), ("engage_offset", b"x"), ("engage_reason", b"x")], ["engage_reason"]),
        ([("small", b"1"), ("large", b"x" * 65_536), ("late", b"1")], ["small"]),
    ],
)
def test_a_copy_keeps_the_headers_of_its_producer(sent, arrives):
    record = good()
    record.headers = sent
    copy = aside(record, nobody)
    assert isinstance(copy, Message)
    arrived = copied(copy)
    assert [name for name, _ in arrived.headers] == arrives
    assert set(arrived.headers) <= set(sent)
    assert (arrived.topic, arrived.place) == ("logins", record.place)
    assert copied(aside(record, nobody)).headers == arrived.headers


def test_a_copy_that_is_wrong_again_does_not_travel_for_ever():
    copy = aside(good(), nobody)
    assert isinstance(copy, Message)
    assert reason(aside(copied(copy), nobody)) == Rejection.KEY_MISMATCH


def test_a_copy_of_a_bad_record_names_its_first_place_in_the_dead_letters():
    copy = aside(good(value=b"\xff", key=b"c2"), nobody)
    assert isinstance(copy, Message)
    letter = aside(copied(copy), everyone)
    assert reason(letter) == Rejection.NOT_JSON
    assert isinstance(letter, Message)
    assert dict(letter.headers)["engage_offset"] == b"9"


def test_a_key_too_long_for_any_client_is_not_sent_around():
    assert reason(aside(good(key=b"k" * 65), nobody)) == Rejection.KEY_MISMATCH


def test_a_value_too_large_for_any_event_is_not_sent_around():
    """Its producer may have compressed it; the copy is not, no topic takes it, and each worker in turn would end."""
    assert reason(aside(good(value=b"x" * 65_536), everyone)) == Rejection.NOT_JSON
    copy = aside(good(value=b"x" * 65_536), nobody)
    assert isinstance(copy, Message)
    assert copy.topic == "rerouted"
    assert reason(aside(good(value=b"x" * 65_537), nobody)) == Rejection.TOO_LARGE


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("engage_topic", b"logins")],
        [("engage_topic", b"no such"), ("engage_partition", b"1"), ("engage_offset", b"1"), ("engage_timestamp", b"1")],
        [("engage_topic", b"logins"), ("engage_partition", b"x"), ("engage_offset", b"1"), ("engage_timestamp", b"1")],
        [("engage_topic", b"\xff"), ("engage_partition", b"1"), ("engage_offset", b"1"), ("engage_timestamp", b"1")],
        [("engage_topic", None), ("engage_partition", b"1"), ("engage_offset", b"1"), ("engage_timestamp", b"1")],
    ],
)
def test_what_another_program_writes_on_the_internal_topic_is_a_dead_letter(headers):
    [record] = inbound("rerouted", [ConsumerRecord(4, at(0), b"c1", good().value, headers, 2)])
    letter = aside(record, everyone)
    assert reason(letter) == Rejection.UNKNOWN_VALUE
    assert isinstance(letter, Message)
    assert dict(letter.headers)["engage_topic"] == b"rerouted"
