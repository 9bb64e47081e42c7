"""A partition at work: its batches go to the agent, and what falls due is evaluated between them.

Enters: what the intake has, and the clock. Leaves: batches for the engagement agent, ticks, sweeps, commits by age.
Holds: one batch of a partition is on its way at a time, so order is kept and a slow Redis or Kafka slows intake instead
of filling memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Intake
from engine.runtime.protocol.partition import Partition
from engine.runtime.settings import Settings
from engine.runtime.worker.event_loop import Turn, Turns
from engine.runtime.worker.observing import Backlog

TICK_S: Final = 1.0
BEHIND_S: Final = 5.0  # between ticks, and to a unit's commit, while the partition is behind
IDLE_WAIT_S: Final = 0.25
HOLD_WAIT_S: Final = 0.02
TURN_WAIT_S: Final = 0.05  # before events are read again


class Serving:
    """Serves one partition, once it has recovered, until told to stop."""

    def __init__(
        self,
        partition: Partition,
        intake: Intake,
        settings: Settings,
        metrics: Metrics,
        *,
        deliver: Callable[[Partition, Batch, int], Awaitable[None]],
        turns: Turns,
        sweep_clients: int,
        wall_ms: Callable[[], int],
    ) -> None:
        self._partition = partition
        self._intake = intake
        self._settings = settings
        self._deliver = deliver
        self._turns = turns
        self._turn = Turn(turns.herding)
        self._pace = turns.pace
        self._sweep_clients = sweep_clients  # at most, after a tick
        self._wall_ms = wall_ms
        self._stopping = asyncio.Event()
        self._backlog = Backlog(metrics, intake, partition.number, wall_ms)
        # wall clock and the event time reached by then, from the last moment on up to which everything can be read
        self._reached: deque[tuple[int, int]] = deque(maxlen=10_000)

    def _ticked(self) -> None:
        """After a tick that went well."""

    async def _serve(self) -> None:
        try:
            await self._take_and_tick()
        finally:
            self._turn.over()
        if self._partition.uncommitted:
            await self._partition.commit("handover")

    async def _take_and_tick(self) -> None:
        """Events go before what the calendar brings: while many clients are due, they are read between two ticks."""
        partition, settings, clock = self._partition, self._settings, asyncio.get_running_loop().time
        ticked = began = clock()  # the last tick, and the open unit
        stood = partition.position
        herd = False
        while not self._stopping.is_set():
            wait_s = 0 if herd and self._turn.near else min(IDLE_WAIT_S, settings.unit_age_s / 2)
            batch = await self._intake.next(wait_s)
            if self._turns.holds():
                await self._hold_off()
            async with self._turns.working:
                if batch is not None:
                    async with asyncio.timeout(settings.unit_deadline_s):
                        await self._deliver(partition, batch, self._decided_ms())
                # nothing at hand may mean that this worker's other partitions kept it busy
                behind = partition.behind and (batch is not None or not self._intake.caught_up)
                if partition.position is not stood or not partition.uncommitted:
                    stood, began = partition.position, clock()
                elif clock() - began >= (BEHIND_S if behind else settings.unit_age_s):
                    await partition.commit("age")
            if behind:
                herd = False
                self._turn.over()
            elif herd and not await self._turn.came(0 if batch or wait_s else TURN_WAIT_S):
                continue
            if herd or clock() - ticked >= (BEHIND_S if behind else TICK_S):
                ticked = clock()
                async with self._turns.working:
                    herd = await self._tick(herd, behind)
                self._turn.over()
                self._ticked()

    async def _hold_off(self) -> None:
        """A rule is being paused: no more is decided by the rules as they are."""
        if self._partition.uncommitted:
            async with self._turns.working:
                await self._partition.commit("age")
        while self._turns.holds() and not self._stopping.is_set():
            await asyncio.sleep(HOLD_WAIT_S)
        self._partition.take_newest_plan()

    def _decided_ms(self) -> int:
        return 0 if self._settings.clock == "event" else self._wall_ms()

    async def _tick(self, herd: bool, behind: bool) -> bool:
        """Evaluate clients who are due: a part of a herd, or a few. True if more are due than a few."""
        self._backlog.report(self._partition.reached_ms)
        # records that nobody can read yet, since a producer's transaction is open, may be logins, too
        wall_ms = self._wall_ms()
        now_ms = self._intake.readable_ms(wall_ms)
        if self._settings.clock == "event":
            tick_ms = self._reached_event_ms(wall_ms, now_ms)
        elif self._intake.caught_up:
            tick_ms = now_ms
        else:
            # behind, or out of touch: later logins may wait; and a record may carry a time that lies ahead
            tick_ms = min(self._partition.reached_ms, now_ms)
        decided_ms = self._decided_ms()
        if not tick_ms:
            await self._partition.look()
        elif herd:
            if await self._pace.of(self._partition.tick(tick_ms, self._pace.clients, decided_ms)):
                return True
        elif behind:  # the unit ends soon enough, and a client is written once in it
            await self._partition.tick(tick_ms, self._pace.most, decided_ms, ends_unit=False)
        elif await self._partition.tick(tick_ms, self._pace.few, decided_ms):
            return True
        if tick_ms and self._intake.caught_up and not self._stopping.is_set():
            await self._partition.sweep(tick_ms, self._sweep_clients, decided_ms)
        if not self._partition.uncommitted:
            self._partition.take_newest_plan()
        return False

    def _reached_event_ms(self, wall_ms: int, readable_ms: int) -> int:
        """The latest event time by the moment up to which everything can be read; 0 while that is not known."""
        reached = self._reached
        if not reached or reached[-1][1] != self._partition.reached_event_ms or len(reached) == 1:
            reached.append((wall_ms, self._partition.reached_event_ms))
        while len(reached) > 1 and reached[1][0] <= readable_ms:
            reached.popleft()
        return reached[0][1] if reached[0][0] <= readable_ms else 0
