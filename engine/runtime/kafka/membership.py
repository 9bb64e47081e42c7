"""The group of workers: who has which partition.

Enters: settings. Leaves: the partitions that this worker owns, after every rebalance.
Holds: the group subscribes to the ledger alone, and reads nothing: a partition of the ledger is what is shared out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

from engine.runtime.clients import Clients, Consumer
from engine.runtime.errors import Fenced, Refused, Unavailable
from engine.runtime.kafka.connection import discard, errors
from engine.runtime.kafka.sharing import Sharing
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

REJOIN_S: Final = 1.0
MOST_FAILURES: Final = 5  # of polls, one after another
HEARTBEAT_MS: Final = 500  # at most: by its answer a worker learns that partitions are to be shared out anew


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """The group of workers. It subscribes to the ledger alone: a partition of the ledger is what is shared out.

    `changed` is called with the partitions this worker owns, after every rebalance.
    """

    def __init__(self, settings: Settings, clients: Clients, changed: Callable[[frozenset[int]], None]) -> None:
        self._settings = settings
        self._clients = clients
        self._changed = changed
        self._consumer: Consumer | None = None
        self._rejoin_at: float | None = None
        self._failures = 0
        self._sharing = Sharing(settings.ledger_topic)  # outlives the consumer: it knows what this worker holds

    async def start(self) -> None:
        session_ms = int(self._settings.session_timeout_s * 1000)
        self._consumer = self._clients.consumer(
            **self._settings.kafka_client(),
            group_id=self._settings.group,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=min(session_ms // 5, HEARTBEAT_MS),
            partition_assignment_strategy=(self._sharing,),
            rebalance_timeout_ms=session_ms,
            max_poll_interval_ms=300_000,
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        with errors():
            try:
                async with asyncio.timeout(15):
                    await self._consumer.start()
            except BaseException:
                await self.stop()
                raise
        self._consumer.subscribe([self._settings.ledger_topic], listener=self)

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Nothing: what goes is known when the new assignment comes; until then fencing keeps two owners apart."""

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        assert self._consumer is not None
        self._consumer.pause(*assigned)  # membership is all that is wanted: nothing is read here
        self._rejoin_at = None
        self._changed(frozenset(tp.partition for tp in assigned))

    async def poll(self) -> None:
        """Stay a member. An unpolled member leaves the group while its assignment still shows the partitions.

        What aiokafka did not expect ends its part in the group for good (its issue 796), and each poll says so: then
        another member takes its place.
        """
        if self._consumer is None or self._failures >= MOST_FAILURES:
            await self.stop()
            await self.start()
            self._failures = 0
            log.warning("joined the group anew: its member had ended")
        consumer = self._consumer
        assert consumer is not None
        if self._rejoin_at is not None and asyncio.get_running_loop().time() >= self._rejoin_at:
            self._rejoin_at = None
            consumer.unsubscribe()
            consumer.subscribe([self._settings.ledger_topic], listener=self)
        try:
            with errors():
                await consumer.getmany(timeout_ms=200)
        except (Fenced, Refused):
            raise
        except Exception as error:  # whatever ended aiokafka's part in the group
            self._failures += 1
            raise error if isinstance(error, Unavailable) else Unavailable("kafka", repr(error)) from error
        self._failures = 0

    async def probe(self) -> None:
        """Ask Kafka anything: an idle worker would not notice that it is away. Raises Unavailable."""
        assert self._consumer is not None
        with errors():
            tp = TopicPartition(self._settings.ledger_topic, 0)
            async with asyncio.timeout(5):
                await self._consumer.end_offsets([tp])

    def rejoin(self) -> None:
        """Ask for a new assignment, unless one comes by itself: in a rebalance a worker may learn from the fence,
        before the group tells it, that a partition has moved. Each asking moves everybody's partitions again.
        """
        if self._rejoin_at is None:
            self._rejoin_at = asyncio.get_running_loop().time() + REJOIN_S

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        await discard(consumer)
