"""Long polls that the partitions of a worker share: a broker is asked once for all of them, not by each.

Enters: what readers want to read, and answers of brokers. Leaves: answers, handed to the reader that wants them.
Holds: a broker is asked every `EVERY_S` at most, and holds its answer back until there is something to read: a single
record comes at once, and those that come in quick succession come together. A reader with so much at hand that it is
full is left out, and others do not wait for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    for_code,
)

from engine.runtime.kafka.wire.sessions import Asked, Fetch, Session

log = structlog.get_logger(__name__)

EVERY_S: Final = 0.004  # between two requests at least
WAIT_MS: Final = 100  # at the broker; who begins to read waits so long at most
FULL_WAIT_MS: Final = 20  # while a reader is left out, which may have room again at any moment
RETRY_S: Final = 0.1
HEARD_S: Final = 0.1  # between two words that what was silent has been heard of
_FOR_THE_READER: Final = (OffsetOutOfRangeError, TopicAuthorizationFailedError, CorruptRecordException)


class Reader(Protocol):
    """Who reads some partitions of topics."""

    client: Any  # aiokafka's, with the metadata of its topics
    isolation: int

    def wants(self, tp: TopicPartition) -> Asked | None:
        """What to fetch next; None while it is full."""

    def take(self, tp: TopicPartition, offset: int, answer: Answer) -> None:
        """An answer to what was asked from this offset. Raises nothing but for faults of ours."""

    def fail(self, error: Exception) -> None:
        """Something of what it reads cannot be read."""

    def heard(self, tp: TopicPartition) -> None:
        """The broker has nothing new of it."""

    def told(self) -> None:
        """An answer has been handed out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one partition of a topic."""

    end: int
    stable: int  # the last stable offset
    aborted: Any  # transactions that were, and from which offset on
    batches: bytes


class Polls:
    """One poll for each broker that leads something."""

    def __init__(self) -> None:
        self._readers: dict[TopicPartition, Reader] = {}
        self._leaders: dict[TopicPartition, int] = {}
        self._polls: dict[int, _Poll] = {}
        self._again: asyncio.TimerHandle | None = None

    def join(self, reader: Reader, tps: frozenset[TopicPartition]) -> None:
        """Read these for it; nobody else does so any more."""
        for tp in tps:
            self.changed(tp)
            self._leaders.pop(tp, None)
            self._readers[tp] = reader
        self.look()

    def leave(self, reader: Reader) -> None:
        for tp in [tp for tp, known in self._readers.items() if known is reader]:
            del self._readers[tp]
            self.changed(tp)
            self._leaders.pop(tp, None)
        if not self._readers:
            for poll in self._polls.values():
                poll.stop()
            self._polls.clear()
            if self._again is not None:
                self._again.cancel()
                self._again = None

    def changed(self, tp: TopicPartition) -> None:
        """Its reader wants something else than before."""
        if (poll := self._polls.get(self._leaders.get(tp, -1))) is not None:
            poll.changed(tp)

    def reader(self, tp: TopicPartition, node: int) -> Reader | None:
        """Who reads it, if this broker leads it."""
        return self._readers.get(tp) if self._leaders.get(tp) == node else None

    @property
    def client(self) -> Any:
        """That of one of the readers; all have the same brokers."""
        return next(iter(self._readers.values())).client

    def failed(self, client: Any) -> bool:
        """A broker does not answer, so another one may lead by now; False if the client's reader has left, and with it
        the connection.
        """
        readers = dict.fromkeys(self._readers.values())
        if all(reader.client is not client for reader in readers):
            return False
        for reader in readers:
            reader.client.force_metadata_update()
        self.look_again()
        return True

    def look(self) -> None:
        """Find out who leads what, and ask them."""
        unknown = set()
        for tp, reader in self._readers.items():
            leader = reader.client.cluster.leader_for_partition(tp)
            if leader is None or leader < 0:
                unknown.add(reader)
            elif self._leaders.get(tp) != leader:
                self.changed(tp)
                self._leaders[tp] = leader
                if leader not in self._polls:
                    self._polls[leader] = _Poll(leader, self)
                self.changed(tp)
        for reader in unknown:
            reader.client.force_metadata_update()
        if unknown:
            self.look_again()

    def lost(self, tp: TopicPartition) -> None:
        """Its leader does not answer for it now: ask who is, and again a little later."""
        self.changed(tp)
        self._leaders.pop(tp, None)
        if (reader := self._readers.get(tp)) is not None:
            reader.client.force_metadata_update()
        self.look_again()

    def look_again(self) -> None:
        if self._again is None and self._readers:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._looks_again)

    def _looks_again(self) -> None:
        self._again = None
        self.look()

    def over(self, node: int, error: Exception | None) -> None:
        """The broker leads nothing that is read; or an error that nobody expected, which ends all."""
        self._polls.pop(node, None)
        if error is not None:
            for reader in dict.fromkeys(self._readers.values()):
                reader.fail(error)
                reader.told()


class _Poll:
    """The poll of one broker, while it leads anything that is read."""

    def __init__(self, node: int, polls: Polls) -> None:
        self._node = node
        self._polls = polls
        self._session = Session()
        self._asked: dict[TopicPartition, Asked] = {}  # who had something last is last
        self._changed: set[TopicPartition] = set()
        self._full: set[TopicPartition] = set()
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def changed(self, tp: TopicPartition) -> None:
        self._changed.add(tp)
        self._wake.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                fetch, began = self._next(), clock()
                if self._asked:
                    await self._ask(fetch)
                    await asyncio.sleep(EVERY_S - (clock() - began))
                elif self._full:
                    self._session = Session()  # or the broker would go on with all that it knows
                    await self._wake.wait()
                else:
                    break
        except Exception as error:
            self._polls.over(self._node, error)
        else:
            self._polls.over(self._node, None)

    def _next(self) -> Fetch:
        news: dict[TopicPartition, Asked] = {}
        gone: set[TopicPartition] = set()
        self._wake.clear()
        for tp in self._changed:
            reader = self._polls.reader(tp, self._node)
            wanted = reader and reader.wants(tp)
            known = self._asked.pop(tp, None)
            self._full.discard(tp)
            if wanted:
                self._asked[tp] = wanted
                if wanted != known:
                    news[tp] = wanted
            else:
                if known:
                    gone.add(tp)
                if reader:
                    self._full.add(tp)
        self._changed.clear()
        isolation = next((r.isolation for tp in self._asked if (r := self._polls.reader(tp, self._node))), 0)
        wait_ms = FULL_WAIT_MS if self._full else WAIT_MS
        return Fetch(self._session, self._asked, news, gone, wait_ms=wait_ms, isolation=isolation)

    async def _ask(self, fetch: Fetch) -> None:
        client = self._polls.client
        try:
            answer = await client.send(self._node, fetch)
        except KafkaError as error:
            log.debug("a fetch failed", broker=self._node, error=repr(error))
            self._session = Session()  # whether the broker has heard of it is not known
            if self._polls.failed(client):
                await asyncio.sleep(RETRY_S)
        else:
            self._session.goes_on(answer)
            if not getattr(answer, "error_code", 0):
                self._hand_out(answer)

    def _hand_out(self, answer: Any) -> None:
        now, asked, had_news = asyncio.get_running_loop().time(), self._asked, set()
        told: dict[Reader, None] = {}
        for topic, partitions in answer.topics:
            for number, code, end, *rest in partitions:
                tp = TopicPartition(topic, number)
                had_news.add(tp)
                reader, error = self._polls.reader(tp, self._node), for_code(code)
                if reader is None or tp not in asked:
                    continue
                self._changed.add(tp)
                if error is NoError:
                    aborted = rest[2 if answer.API_VERSION >= 11 else -2]
                    reader.take(tp, asked[tp].offset, Answer(end, rest[0], aborted, rest[-1] or b""))
                    told[reader] = None
                elif issubclass(error, _FOR_THE_READER):
                    reader.fail(error({tp: asked[tp].offset}))
                    told[reader] = None
                    self._polls.lost(tp)
                else:
                    log.debug("a partition cannot be fetched", topic=topic, partition=number, error=error.__name__)
                    self._polls.lost(tp)
        if now - self._heard_at >= HEARD_S:
            self._heard_at = now
            for tp in asked.keys() - had_news:
                if (reader := self._polls.reader(tp, self._node)) is not None:
                    reader.heard(tp)
        for reader in told:
            reader.told()
