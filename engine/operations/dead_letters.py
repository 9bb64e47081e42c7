"""Dead letters: listing them by reason, and sending those one picks once more.

Enters: the dead-letters topic. Leaves: counts, records, and copies on the inbound topics.
Holds: a letter is re-sent at most once: the copy and the note that it was made are one transaction, and one sender at
a time can write.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from engine.core.contract.topics import DEAD_LETTERS, OWN, written_topics
from engine.runtime.clients import Clients, Consumer, Producer
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import (
    MAX_REQUEST_BYTES,
    TRANSACTION_BACKOFF_MS,
    discard,
    errors,
    partition_counts,
    reader,
    records_between,
    sending,
    start,
    telling,
)
from engine.runtime.protocol.records import HEADER_ENCODING
from engine.runtime.settings import Settings

MOST_ERRORS: Final = 5  # that are shown of one reason


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the topic; `id` is its own place, `<partition>/<offset>`. The rest is where and what it was at
    first.
    """

    id: str
    reason: str
    error: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    resent: bool


async def read_all(
    settings: Settings, clients: Clients, moved: Callable[[int, int], None] = lambda done, of: None
) -> AsyncIterator[DeadLetter]:
    """Every dead letter still held, partition by partition; `moved(done, of)` tells how many were read."""
    name = settings.topic(DEAD_LETTERS)
    # a fetch that waits at a partition's end holds back whatever is asked of the next one
    async with reader(settings, clients, fetch_max_wait_ms=20) as consumer:
        resent = await _resent(settings, clients, consumer)
        tps = await _partitions(settings, clients, name)
        # all ends now: what is re-sent while reading may come back as a new letter of a partition not yet read
        firsts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        before, of = 0, sum(ends[tp] - firsts[tp] for tp in tps)
        for tp in tps:
            begins = before - firsts[tp]
            records = records_between(consumer, tp, firsts[tp], ends[tp])
            async for record in telling(records, lambda at, begins=begins: moved(begins + at, of)):  # type: ignore[misc]
                yield _letter(record, resent)
            before += ends[tp] - firsts[tp]


def _letter(record: Any, resent: Collection[str]) -> DeadLetter:
    """Records written by other programs are listed too; they have no origin."""
    headers = {key: (value or b"").decode("utf-8", "replace") for key, value in record.headers}
    place = f"{record.partition}/{record.offset}"
    origin = [headers.get(f"engage_{name}", "") for name in ("partition", "offset", "timestamp")]
    ours = all(number.removeprefix("-").isdecimal() and len(number) < 20 for number in origin)
    partition, offset, timestamp_ms = map(int, origin) if ours else (-1, -1, -1)
    key, value = record.key, record.value
    if headers.get(HEADER_ENCODING) == "gzip":
        try:
            key, value = (None if data is None else gzip.decompress(data) for data in (key, value))
        except (OSError, EOFError, zlib.error):
            ours = False
    return DeadLetter(
        place,
        headers.get("engage_reason") or "unknown",
        headers.get("engage_error", ""),
        headers.get("engage_topic", "") if ours else "",
        partition,
        offset,
        timestamp_ms,
        key,
        value,
        place in resent,
    )


def listed(letters: Sequence[DeadLetter], reason: str | None, as_json: bool) -> Iterator[str]:
    """Lines for a terminal: counts by reason with the errors behind them, or the letters of one reason; with `as_json`
    every letter whole.
    """
    chosen = [letter for letter in letters if reason is None or letter.reason == reason]
    if as_json:
        for letter in chosen:
            raw = {
                name: None if data is None else b64encode(data).decode()
                for name, data in (("key", letter.key), ("value", letter.value))
            }
            yield json.dumps(asdict(letter) | raw, ensure_ascii=False)
    elif reason is not None:
        for letter in chosen:
            mark = "  (re-sent)" if letter.resent else ""
            yield f"{letter.id:<12} {letter.topic}/{letter.partition}/{letter.offset}  {letter.error}{mark}"
    else:
        counts = Counter(letter.reason for letter in letters)
        resent = Counter(letter.reason for letter in letters if letter.resent)
        for name, number in sorted(counts.items()):
            yield f"{name:<16} {number:>8}  ({resent[name]} re-sent)"
            yield from _errors([letter for letter in letters if letter.reason == name])
        yield f"{'all':<16} {len(letters):>8}"


def _errors(letters: Sequence[DeadLetter]) -> Iterator[str]:
    """What was wrong, the most frequent first: thousands of letters of one producer have one error."""
    errors = Counter((letter.topic or "?", letter.error or "?") for letter in letters)
    for (topic, error), number in errors.most_common(MOST_ERRORS):
        yield f"  {number:>8}  {topic}: {error}"
    if len(errors) > MOST_ERRORS:
        others = sum(number for _, number in errors.most_common()[MOST_ERRORS:])
        yield f"  {others:>8}  with {len(errors) - MOST_ERRORS} other errors: --reason lists the letters"


async def resend(
    settings: Settings,
    clients: Clients,
    ids: Sequence[str],
    reason: str | None,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[DeadLetter], list[str]]:
    """Send letters again to the topic they came from: those named, or all of a reason. (sent, left alone with why)."""
    producer = clients.producer(
        **settings.kafka_client(TRANSACTION_BACKOFF_MS),
        transactional_id=f"{settings.prefix}{settings.app_id}-resend",
        max_request_size=MAX_REQUEST_BYTES,
        compression_type="gzip",  # a record that came compressed may be larger than its topic takes otherwise
    )
    sent: list[DeadLetter] = []
    left: list[str] = []
    with errors():
        try:
            # before reading: initialising fences another sender, so that what is read as not yet re-sent stays so
            await start(producer, settings)
            wanted = set(ids)
            async for letter in read_all(settings, clients, moved):
                if letter.id not in wanted and letter.reason != reason:
                    continue
                wanted.discard(letter.id)
                if letter.resent or letter.topic not in (*written_topics(), *OWN):
                    left.append(f"{letter.id}: {'was re-sent before' if letter.resent else 'has no origin'}")
                    continue
                await _resend_one(settings, producer, letter)
                sent.append(letter)
            left += [f"{id_}: no such dead letter" for id_ in sorted(wanted)]
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Refused(
                f"another resend began and took over after {len(sent)} letters: once it has ended, run this again for "
                "what it left"
            ) from error
        finally:
            await discard(producer)
    return sent, left


async def _resend_one(settings: Settings, producer: Producer, letter: DeadLetter) -> None:
    sends: list[asyncio.Future[Any]] = []
    async with producer.transaction():
        async with sending(sends):
            sends.append(await producer.send(settings.topic(letter.topic), letter.value, key=letter.key))
            sends.append(await producer.send(settings.resent_topic, b"1", key=letter.id.encode(), partition=0))
        await asyncio.gather(*sends)


async def _resent(settings: Settings, clients: Clients, consumer: Consumer) -> set[str]:
    tp = (await _partitions(settings, clients, settings.resent_topic))[0]
    first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    return {
        record.key.decode("utf-8", "replace")
        async for record in records_between(consumer, tp, first, end)
        if record.key
    }


async def _partitions(settings: Settings, clients: Clients, topic: str) -> list[TopicPartition]:
    counts = await partition_counts(settings, clients, [topic])
    if topic not in counts:
        raise Refused(f"the topic {topic} does not exist: create it with `{settings.create_topics}`")
    return [TopicPartition(topic, number) for number in range(counts[topic])]
