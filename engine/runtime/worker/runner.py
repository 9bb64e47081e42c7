"""The life of one partition in a worker: recover, serve; again from the start after any surprise.

Enters: an assignment. Leaves: a partition that is served. Holds: a start is the only recovery; pauses grow while a
system is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from engine.runtime.errors import Fenced, Newer, Surprised, Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Intake
from engine.runtime.protocol.partition import Partition
from engine.runtime.settings import Settings
from engine.runtime.worker.event_loop import Turns
from engine.runtime.worker.serving import Serving
from engine.runtime.worker.waiting import UPGRADE, Waiting

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
LONGEST_UPGRADE_PAUSE_S: Final = 30.0  # between tries to read what a newer engine wrote


class Runner(Serving):
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
        super().__init__(
            partition,
            intake,
            settings,
            metrics,
            deliver=deliver,
            turns=turns,
            sweep_clients=sweep_clients,
            wall_ms=wall_ms,
        )
        self.number = partition.number
        self.ready = False
        self.trouble: str | None = None  # what a newer engine wrote, while it is waited for this one's upgrade
        self._metrics = metrics
        self._waiting = waiting
        self._stop_log = stop_log
        self._check = check
        self._fenced = fenced
        self._stood = partition.position
        self._began: dict[str, int] = {}  # the offsets that this worker began at; empty: another one has the partition
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

    def _ticked(self) -> None:
        if self._doubtful and self._works_again():
            self._runs()

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
