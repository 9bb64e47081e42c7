"""Deciding a file again: the same as a worker decides, line by line, and a bad line is named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from engine.core.contract.outbound import OUTBOUND
from engine.core.firm_time import DAY_MS
from engine.demo.simulator import write
from engine.operations.record_file import parse_line
from engine.operations.replay import Replayed, as_line, read_file, replay_records, states_hash
from engine.runtime.protocol.records import Inbound
from tests.core.making import shipped_plan
from tests.runtime.driving import Bench, ConsumerRecord, Topics, all_batches, by_client

END = "2026-11-01T00:00:00Z"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    out = io.BytesIO()
    write(out, seed=3, clients=60, days=60, end=END, bad_share=0.02)
    return out.getvalue().splitlines(keepends=True)


def replayed(lines: list[bytes], until_ms: int | None = None) -> tuple[Replayed, list]:
    result = Replayed()
    return result, list(replay_records(shipped_plan(), read_file(lines, "f"), result, until_ms))


async def test_a_file_gives_what_a_worker_gives(lines):
    """The same records as a partition of Kafka would hold them, in batches of any size, committed whenever."""
    topics: Topics = {}
    for record in read_file(lines, "f"):
        records = topics.setdefault(record.topic, [])
        records.append(ConsumerRecord(len(records), record.timestamp_ms, record.key, record.value))
    bench = Bench(shipped_plan(), cache_bytes=200_000)
    worker = await bench.started()
    for number, batch in enumerate(all_batches(topics, 37)):
        await worker.take(batch)
        if number % 3 == 0:
            await worker.commit("age")
        if number % 2 == 0:
            await worker.tick(worker.reached_event_ms)
    await worker.commit("age")
    await worker.tick(worker.reached_event_ms)
    result, messages = replayed(lines)
    shown = [m for m in messages if m.topic in OUTBOUND]
    published = [m for m in bench.ledger.messages if m.topic in OUTBOUND]
    assert len(shown) > 50
    assert by_client(shown) == by_client(published)
    assert result.states == bench.data.states()
    assert result.hash == states_hash(bench.data.states().items())
    assert result.rejected == len(bench.ledger.messages) - len(published) > 0
    assert result.events + result.rejected == len(lines)


def test_the_same_file_gives_the_same(lines):
    first, messages = replayed(lines)
    second, again = replayed(lines)
    assert messages == again
    assert first == second


def test_timers_run_up_to_the_time_asked_for(lines):
    last_ms = parse_line(lines[-1].decode())[2]
    _, without = replayed(lines)
    result, messages = replayed(lines, last_ms + 90 * DAY_MS)
    timers = messages[len(without) :]
    assert messages[: len(without)] == without
    assert len(timers) > 5
    assert all(json.loads(m.value)["cause"]["type"] == "timer" for m in timers)
    assert result.hash != replayed(lines)[0].hash


def test_the_hash_is_of_all_states_in_any_order():
    states = [("a", b"1"), ("b", b"2"), ("c", b"")]
    assert states_hash(states) == states_hash(reversed(states))
    assert len({states_hash(states), states_hash(states[:2]), states_hash([("a", b"2"), ("b", b"1"), ("c", b"")])}) == 3
    assert states_hash([("ab", b"c")]) != states_hash([("a", b"bc")])
    assert states_hash([]) == "0" * 64


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"garbage", "not a record line"),
        (b"", "not a record line"),
        (b"\xff", "invalid start byte"),
        (b'{"topic":"tradse","key":"c","timestamp":1,"value":{}}', '"tradse" is not an inbound topic; there are'),
        (b'{"topic":"trades","key":"c","value":{},"timestamp":null}', "not a record line"),
        (b'{"topic":"trades","key":5,"value":{}}', "not a record line"),
        (b'{"topic":"trades","key":"c","value_base64":5}', "not a record line"),
        (b'{"topic":"trades","key":"c","timestamp":1,"value_base64":"***"}', "base64"),
        (b'{"topic":["trades"],"key":"c","value":{}}', "not a record line"),
        (b'{"topic":"trades","key":"c","value":' + b"[" * 100_000, "not a record line"),
    ],
)
def test_a_bad_line_is_named(line, said, lines):
    with pytest.raises(ValueError, match=r"history\.ndjson:3: ") as error:
        list(read_file([lines[0], lines[1], line], "history.ndjson"))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('{"topic":"t","key":"k","timestamp":5,"value":{"a":1}}\n', ("t", b"k", 5, b'{"a":1}')),
        ('{"topic":"t","key":null,"timestamp":5,"value":[ 1 ]}', ("t", None, 5, b"[ 1 ]")),
        ('{"topic":"t","key":"k","timestamp":5,"value_base64":"AP8="}', ("t", b"k", 5, b"\x00\xff")),
        ('{ "topic": "t", "key": "k", "value": { "a": "客" } }', ("t", b"k", -1, '{"a":"客"}'.encode())),
        ('{"value":1,"timestamp":7,"key":"a\\"b","topic":"t"}', ("t", b'a"b', 7, b"1")),
        ('{"key":null,"topic":"t","value_base64":"AP8="}', ("t", None, -1, b"\x00\xff")),
    ],
)
def test_lines_as_written_and_as_others_write_them(line, record):
    assert parse_line(line) == record


def test_records_of_a_file_are_numbered_by_their_line(lines, tmp_path: Path):
    (first, second) = read_file(lines[:2], "f")
    assert (first.offset, second.offset) == (1, 2)
    assert isinstance(first, Inbound)


def test_an_outbound_line_is_json_with_the_published_value(lines):
    _, messages = replayed(lines)
    message = next(m for m in messages if m.topic in OUTBOUND)
    line = json.loads(as_line(message))
    assert line["topic"] == message.topic
    assert line["key"].encode() == message.key
    assert as_line(message).encode().endswith(b'"value":' + message.value + b"}")
