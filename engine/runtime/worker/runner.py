"""The life of one partition in a worker: recover, read, hand to the agent, tick; again from the start after any
surprise.

Enters: an assignment. Leaves: batches for the engagement agent. Holds: one batch of a partition is on its way at a
time, so order is kept and a slow Redis or Kafka slows intake instead of filling memory; pauses grow while a system is
away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from engine.runtime.errors import Fenced, Newer, Surprised, Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Intake
from engine.runtime.protocol.partition import Partition
from engine.runtime.settings import Settings
from engine.runtime.worker.event_loop import Turn, Turns
from engine.runtime.worker.observing import Backlog
from engine.runtime.worker.waiting import UPGRADE, Waiting

log = structlog.get_logger(__name__)

TICK_S: Final = 1.0
BEHIND_S: Final = 5.0  # between ticks, and to a unit's commit, while the partition is behind
IDLE_WAIT_S: Final = 0.25
TURN_WAIT_S: Final = 0.05  # before events are read again
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
LONGEST_UPGRADE_PAUSE_S: Final = 30.0  # between tries to read what a newer engine wrote


class Runner:
    """Drives one partition until told to stop. `check` refuses a Redis that was emptied; `fenced` is called when
    another worker took the partition over.
    """

    def __init__(
        self,
        partition: Partition,
        intake: Intake,
        settings: Settings,
        metrics: Metrics,
        waiting: Waiting,
        *,
        stop_log: Callable[[], Awaitable[None]],
        deliver: Callable[[Partition, Batch, int], Awaitable[None]],
        turns: Turns,
        sweep_clients: int,
        check: Callable[[], Awaitable[None]],
        fenced: Callable[[], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self.number = partition.number
        self.ready = False
        self.trouble: str | None = None  # what a newer engine wrote, while it is waited for this one's upgrade
        self._partition = partition
        self._intake = intake
        self._settings = settings
        self._metrics = metrics
        self._waiting = waiting
        self._stop_log = stop_log
        self._deliver = deliver
        self._turns = turns
        self._turn = Turn(turns.herding)
        self._pace = turns.pace
        self._sweep_clients = sweep_clients  # at most, after a tick
        self._check = check
        self._fenced = fenced
        self._wall_ms = wall_ms
        self._stopping = asyncio.Event()
        self._stood = partition.position
        self._began: dict[str, int] = {}  # the offsets that this worker began at; empty: another one has the partition
        self._backlog = Backlog(metrics, intake, partition.number, wall_ms)
        # wall clock and the event time reached by then, from the last moment on up to which everything can be read
        self._reached: deque[tuple[int, int]] = deque(maxlen=10_000)
        self._doubtful = False  # it went wrong, and nothing since shows that it is right again
        self._log = log.bind(partition=self.number)

    async def run(self) -> None:
        """Raises Refused, or what is a fault of ours: both end the worker."""
        pause_s, cause, longest_s = FIRST_PAUSE_S, "assigned", LONGEST_PAUSE_S
        try:
            while not self._stopping.is_set():
                began = asyncio.get_running_loop().time()
                try:
                    self._state("recovering")
                    self._metrics.recoveries.labels(cause).inc()
                    async with self._turns.starting:
                        if self._stopping.is_set():
                            return
                        await self._recover()
                    if self._doubtful:
                        self._state("waiting")
                    else:
                        self._runs()
                    await self._serve()
                    return
                except Fenced as error:
                    self._began = {}
                    say = self._log.info if self._stopping.is_set() else self._log.warning  # it was taken away
                    say("fenced: another worker has this partition", error=str(error))
                    self._fenced()
                    return
                except Surprised as error:
                    self._log.warning("surprised, starting again", error=str(error))
                    cause = "surprised"
                except Newer as error:
                    self._waiting.begin(UPGRADE, self.number, error)
                    self.trouble = str(error)
                    cause, longest_s = "newer", LONGEST_UPGRADE_PAUSE_S
                except Unavailable as error:
                    self._waiting.begin(error.system, self.number, error)
                    cause = error.system
                self._doubtful = True
                self._state("waiting")
                # what has committed since, or ran for long, is not in the same trouble over again
                committed = self._partition.position != self._stood
                self._stood = self._partition.position
                if committed or asyncio.get_running_loop().time() - began > 2 * LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                await self._sleep(pause_s)
                pause_s, longest_s = min(pause_s * 2, longest_s), LONGEST_PAUSE_S
        finally:
            self.ready = False
            self._waiting.end(self.number, gone=True)  # what it waited for is its next owner's to say
            await self._intake.stop()
            await self._stop_log()

    @property
    def cached(self) -> int:
        return self._partition.cached

    @property
    def tallies(self) -> Mapping[str, int]:
        """How many states of the partition have each label."""
        return self._partition.position.tallies

    @property
    def reached(self) -> dict[str, int]:
        """The next offset of each inbound topic, all before it decided and applied; empty when that is not known."""
        return self._began and {**self._began, **self._partition.position.offsets}

    @property
    def rule_set(self) -> str:
        """Digest of the rule set that the partition decides by; a newer one waits for its unit's end."""
        return self._partition.rule_set

    @property
    def warnings(self) -> list[str]:
        return self._backlog.warnings

    def stop(self) -> None:
        """Finish the unit in hand, commit, and end."""
        self._stopping.set()

    def _state(self, state: str) -> None:
        self.ready = state == "running"
        self._metrics.partition_state(self.number, state)

    def _runs(self) -> None:
        self.trouble, self._doubtful = None, False
        self._waiting.end(self.number)
        self._state("running")

    def _works_again(self) -> bool:
        """After a tick. That it could start shows little: what went wrong may come with the next batch or tick."""
        partition = self._partition
        if self.trouble and partition.sweeping:
            return False
        all_decided = self._intake.caught_up or bool(self._backlog.held)  # all that can be read
        return partition.position != self._stood or (all_decided and not partition.uncommitted)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _recover(self) -> None:
        await self._intake.stop()
        self._backlog.held.clear()
        self._reached.clear()
        await self._check()
        position = self._stood = await self._partition.recover()
        self._partition.offsets = await self._intake.start(dict(position.offsets))
        self._began = dict(self._partition.offsets)
        say = self._log.debug if self._doubtful else self._log.info
        say("partition runs", ledger=position.ledger, clients=position.states)

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
        ticked = committed = clock()
        herd = False
        while not self._stopping.is_set():
            wait_s = 0 if herd and self._turn.near else min(IDLE_WAIT_S, settings.unit_age_s / 2)
            batch = await self._intake.next(wait_s)
            async with self._turns.working:
                if batch is not None:
                    async with asyncio.timeout(settings.unit_deadline_s):
                        await self._deliver(partition, batch, self._decided_ms())
                behind = batch is not None and partition.behind
                if not partition.uncommitted:
                    committed = clock()
                elif clock() - committed >= (BEHIND_S if behind else settings.unit_age_s):
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
                if self._doubtful and self._works_again():
                    self._runs()

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
        elif await self._partition.tick(tick_ms, self._pace.most if behind else self._pace.few, decided_ms):
            return not behind
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
