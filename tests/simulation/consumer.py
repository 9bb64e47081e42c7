"""aiokafka's consumer over the Kafka in memory: the part of its interface that the engine uses.

Enters: the engine's calls. Leaves: records, offsets, assignments.
Holds: a read never raises for a broker that is away; a fetch may leave out a partition, give less than there is, or, of
inbound topics, something again; ends of partitions are those of the last fetch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError

from tests.simulation.broker import Entry, SimKafka
from tests.simulation.group import Member
from tests.simulation.loop import PROCESS, Process
from tests.simulation.scenario import wall_ms


class SimConsumer:
    def __init__(
        self,
        kafka: SimKafka,
        group_id: str | None = None,
        session_timeout_ms: int = 0,
        max_poll_records: int = 500,
        isolation_level: str = "read_committed",
        **_: Any,
    ) -> None:
        self._kafka = kafka
        self._network = kafka.network
        self._group_id = group_id
        self._member: Member | None = None
        self._limit = max_poll_records
        self._committed = isolation_level == "read_committed"
        self._positions: dict[TopicPartition, int] = {}
        self._told: dict[TopicPartition, tuple[int, int]] = {}  # last stable offset and end, as last heard
        self._ends: dict[TopicPartition, int] = {}  # as asked for
        self._heard_ms: dict[TopicPartition, int] = {}  # when that was
        self.latest_ms = 0  # record time of the latest record handed out
        self.process = PROCESS.get()

    async def start(self) -> None:
        await self._network.call("kafka", "connect", lambda: None, KafkaConnectionError)

    async def stop(self) -> None:
        if self._member is not None and self._alive():
            self._kafka.group(self._group_id or "", "").leave(self._member)
            self._member = None

    def _alive(self) -> bool:
        return self.process is None or self.process.alive

    # -- the group ---------------------------------------------------------------------------------

    def subscribe(self, topics: list[str], listener: Any) -> None:
        assert self.process is not None
        process: Process = self.process
        shares: deque[list[TopicPartition]] = deque()

        async def tell() -> None:
            await listener.on_partitions_revoked([])
            await listener.on_partitions_assigned(shares.popleft())  # one after another, however long it was stopped

        def begin(share: list[TopicPartition]) -> None:
            shares.append(share)
            self._network.loop.spawn(process, tell)

        self._member = Member(process, begin)
        if self._alive():
            self._kafka.group(self._group_id or "", topics[0]).join(self._member)

    def unsubscribe(self) -> None:
        if self._member is not None and self._alive():
            self._kafka.group(self._group_id or "", "").leave(self._member)

    def pause(self, *tps: TopicPartition) -> None:
        """A member that is paused reads nothing; it never does here."""

    # -- reading -----------------------------------------------------------------------------------

    async def topics(self) -> set[str]:
        return set(self._kafka.counts)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._kafka.counts[topic]))

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        effect = lambda: {tp: self._kafka.logs[tp].first for tp in tps}  # noqa: E731
        return await self._network.call("kafka", "beginning offsets", effect, KafkaConnectionError)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        logs = self._kafka.logs
        effect = lambda: {tp: logs[tp].stable if self._committed else logs[tp].end for tp in tps}  # noqa: E731
        self._ends |= await self._network.call("kafka", "end offsets", effect, KafkaConnectionError)
        return {tp: self._ends[tp] for tp in tps}

    def assign(self, tps: list[TopicPartition]) -> None:
        self._positions = dict.fromkeys(tps, 0)
        if len(tps) > 1:
            own = next((tp.topic for tp in tps if tp.topic.endswith("-rerouted")), "")
            self._kafka.intakes[self.process, own.removesuffix("-rerouted"), tps[0].partition] = self

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    def last_stable_offset(self, tp: TopicPartition) -> int | None:
        return self._told[tp][0] if tp in self._told else None

    def highwater(self, tp: TopicPartition) -> int | None:
        return self._told[tp][1] if tp in self._told else None

    def last_poll_timestamp(self, tp: TopicPartition) -> int:
        """An idle consumer of a broker that answers asks it all the time; one that has something to read hears of the
        ends with it.
        """
        weather = self._network.weather["kafka"]
        stable, end = self._kafka.logs[tp].stable, self._kafka.logs[tp].end
        if not (weather.down or weather.mute) and stable <= self._positions[tp]:
            self._hear(tp, stable, end)  # the end of what it reads may lie behind an open transaction
        return self._heard_ms.get(tp, 0)

    def _hear(self, tp: TopicPartition, stable: int, end: int) -> None:
        self._told[tp] = stable, end
        self._heard_ms[tp] = int(self._network.loop.time() * 1000)

    def behind(self) -> bool:
        """Whether it was told of more than it has read."""
        ends = self._ends | {tp: told for tp, (told, _) in self._told.items()}
        return any(ends.get(tp, 0) > position for tp, position in self._positions.items())

    def waits_behind_an_open_transaction(self) -> int | None:
        """The wall clock when the first record came that is known and cannot be read yet."""
        told = self._told.items()
        return min((wall_ms(self._kafka.logs[tp].entries[s].at_s) for tp, (s, end) in told if s < end), default=None)

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Entry | None]:
        """The first record of each partition that is not older."""
        effect = lambda: {tp: self._kafka.since(tp, time_ms) for tp, time_ms in times.items()}  # noqa: E731
        return await self._network.call("kafka", "offsets for times", effect, KafkaConnectionError)

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Entry]]:
        loop = self._network.loop
        until_s = loop.time() + timeout_ms / 1000
        wanted = tps or tuple(self._positions)
        while True:
            if self._member is None and any(self._kafka.logs[tp].stable > self._positions[tp] for tp in wanted):
                fetched = await self._fetch(wanted)
                if fetched:
                    return fetched
            remaining_s = until_s - loop.time()
            if remaining_s <= 0:
                return {}
            await self._wait(wanted, remaining_s)

    async def _fetch(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, list[Entry]]:
        """One round trip; empty when it goes wrong."""
        network, random, weather = self._network, self._network.random, self._network.weather["kafka"]
        future: asyncio.Future[Any] = network.loop.create_future()
        if weather.down or weather.mute or (weather.loss and random.random() < weather.loss):
            network.later(random.choice((0.02, 0.5)), self._arrive, future, ())
        else:
            network.later(2 * network.latency_s("kafka", self.process), self._arrive, future, tuple(tps))
        answer, broken = await future
        if broken:
            raise OffsetOutOfRangeError({tp: self._positions[tp] for tp in broken})
        fetched = {}
        for tp, (records, position, *told) in answer.items():
            self._hear(tp, told[0], told[1])
            self._positions[tp] = max(self._positions[tp], position)
            if records:
                fetched[tp] = records
                self.latest_ms = max(self.latest_ms, max(record.timestamp for record in records))
        return fetched

    def _arrive(self, future: asyncio.Future[Any], tps: tuple[TopicPartition, ...]) -> None:
        """At the broker. It may leave out a partition, or give less than there is."""
        random, answer, broken = self._network.random, {}, []
        for tp in tps:
            position = self._positions[tp]
            if position < self._kafka.logs[tp].first:
                broken.append(tp)
                continue
            if random.random() < 0.15:
                continue
            limit = self._limit if random.random() < 0.5 else random.randint(1, 8)
            if len(self._positions) > 1 and random.random() < 0.05:
                self._network.seen["read again"] += 1
                position = max(position - random.randint(1, 4), self._kafka.logs[tp].first)
            answer[tp] = self._kafka.fetch(tp, position, limit)
        if not future.done():
            future.set_result((answer, broken))

    async def _wait(self, tps: Iterable[TopicPartition], seconds: float) -> None:
        future: asyncio.Future[None] = self._network.loop.create_future()
        if self._member is None:
            for tp in tps:
                waiting = self._kafka.logs[tp].waiting
                if len(waiting) > 32:
                    waiting[:] = [other for other in waiting if not other.done()]
                waiting.append(future)
        handle = self._network.loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            handle.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
