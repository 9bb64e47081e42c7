"""The breaker of a worker: counts what its partitions publish, and pauses rules that are beyond their bounds.

Enters: counts of committed units. Leaves: counts in Redis, which all workers share; a pause on the rule-set topic.
Holds: nothing waits for it, but from the moment on at which a rule is seen to be beyond its bounds until its pause has
come, at most HOLD_S. Without Redis it counts on and adds later; a pause that cannot be published is reported and tried
again. Two workers that find the same publish one pause.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from engine.core.contract.outbound import Outcome
from engine.core.rules.policy import Bounds
from engine.core.rules.ruleset import RuleSet
from engine.runtime.clients import Clients
from engine.runtime.errors import Newer, Refused, Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.redis.counters import HOUR_MS, MINUTE_MS, Counters
from engine.runtime.rule_sets.bounds import USUAL_DAYS, Counted, beyond, counts, sliding
from engine.runtime.rule_sets.pausing import BREAKER, pause
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
AGAIN_S: Final = 10.0  # after a pause was asked for, until it is asked for again
HOLD_S: Final = 10.0  # at most, until a pause has come
WAIT_S: Final = 0.02
KEPT_MINUTES: Final = 60  # of counts that Redis could not take
WEEK_HOURS: Final = 7 * 24  # for so long a rule is counted before it is compared with its past


class Breaker:
    """`rule_set` gives the active one. `holds`: a rule is being paused, so the worker decides nothing by the rules as
    they are. `trouble`: why what should be paused is not.
    """

    def __init__(
        self, settings: Settings, clients: Clients, redis: AnyRedis, metrics: Metrics, rule_set: Callable[[], RuleSet]
    ) -> None:
        self.trouble: str | None = None
        self._settings = settings
        self._clients = clients
        self._metrics = metrics
        self._rule_set = rule_set
        self._counters = Counters(redis, settings.scope, USUAL_DAYS)
        self._counted: tuple[str, dict[str, Bounds]] = "", {}  # the rules that are, by the set of this digest
        self._own: tuple[int, Counter[str]] = 0, Counter()  # in this minute, what was published here
        self._published: dict[int, Counter[str]] = {}  # by minute, what Redis has not been told of
        self._usual: tuple[int, dict[str, int]] = 0, {}  # as it was asked for in this hour
        self._asked: dict[str, float] = {}  # when a rule's pause was asked for
        self._hold_until_s = 0.0
        self._waited_in_vain = ""  # the digest of the active set, if a pause of its rules did not come
        self._wake = asyncio.Event()

    @property
    def holds(self) -> bool:
        return self._hold_until_s > 0 and self._hold_until_s > asyncio.get_running_loop().time()

    def _hold(self) -> None:
        if not self.holds and self._waited_in_vain != self._rule_set().digest:
            self._hold_until_s = asyncio.get_running_loop().time() + HOLD_S

    @property
    def rules(self) -> Mapping[str, Bounds]:
        """Those that are counted."""
        rule_set = self._rule_set()
        if self._counted[0] != rule_set.digest:
            self._counted = rule_set.digest, counts(rule_set)
        return self._counted[1]

    def committed(self, unit: Mapping[tuple[str, ...], int]) -> None:
        """Count the actions of a unit. What a pause had held goes out because a person said so, and does not count."""
        rules = self.rules
        if not rules:
            return
        minute = self._clients.wall_ms() // MINUTE_MS
        if self._own[0] != minute:
            self._own = minute, Counter()
        for (about, *names), times in unit.items():
            if about == "decisions" and names[1] == Outcome.SENT and names[0] in rules:
                rule = names[0]
                actions = times - unit.get(("freed", rule), 0)
                if actions > 0:
                    self._published.setdefault(minute, Counter())[rule] += actions
                    self._own[1][rule] += actions
                    self._take_fright(rule, rules[rule])

    def _take_fright(self, rule: str, bounds: Bounds) -> None:
        """What one worker alone sees to be too much need not wait for the others, nor for the second to end."""
        if bounds.per_minute is not None and self._own[1][rule] > bounds.per_minute and self._may_ask(rule):
            self._hold()
            self._wake.set()

    def _may_ask(self, rule: str) -> bool:
        return asyncio.get_running_loop().time() - self._asked.get(rule, -AGAIN_S) >= AGAIN_S

    async def run(self) -> None:
        """Look once a second, for ever. Raises Unavailable when Redis is away; call again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self.rules:
                    await self._arrival(await self.look())
                else:
                    self._published.clear()
                    self.trouble = None
            finally:
                self._hold_until_s = 0

    async def look(self) -> set[str]:
        """Tell Redis what was published here, see what all workers have published, pause what is beyond its bounds.
        Returns the rules whose pause is on its way.
        """
        now_ms = self._clients.wall_ms()
        await self._add(now_ms // MINUTE_MS)
        rule_set = self._rule_set()
        found = beyond(rule_set, await self._counts(rule_set, now_ms))
        for pause_ in rule_set.paused:  # as was asked
            self._asked.pop(pause_.rule, None)
            self._own[1].pop(pause_.rule, None)
        whys = {rule: why for rule, why in found.items() if self._may_ask(rule)}
        if not found:
            self.trouble = None
        if not whys:
            return set()
        self._hold()
        self._asked |= dict.fromkeys(whys, asyncio.get_running_loop().time())
        return {*whys} if await self._pause(whys) else set()

    async def _arrival(self, asked: set[str]) -> None:
        """Wait until a pause is active here, while nothing is decided."""
        while not asked <= {pause_.rule for pause_ in self._rule_set().paused}:
            if not self.holds:
                self._waited_in_vain = self._rule_set().digest
                self.trouble = f"rules {', '.join(sorted(asked))} are paused, but not here: see `engage rules status`"
                return
            await asyncio.sleep(WAIT_S)

    async def _add(self, minute: int) -> None:
        for of in sorted(self._published):
            actions = self._published.pop(of)
            if of < minute - KEPT_MINUTES:
                continue
            try:
                await self._counters.add(of, actions)
            except BaseException:
                self._published.setdefault(of, Counter()).update(actions)
                raise
            self._metrics.breaker_counted.inc(actions.total())

    async def _counts(self, rule_set: RuleSet, now_ms: int) -> dict[str, Counted]:
        minute, hour = now_ms // MINUTE_MS, now_ms // HOUR_MS
        minutes = await self._counters.minutes((minute - 1, minute))
        hours = await self._counters.hours((hour - 1, hour))
        # what a rule that is paused did is neither usual nor held against it once it is resumed
        paused = {pause_.rule for pause_ in rule_set.paused}
        if left := paused & {rule for one in (*minutes, *hours) for rule in one}:
            await self._counters.forget(minute, left)
        of_minute = sliding(minutes, now_ms % MINUTE_MS / MINUTE_MS)
        of_hour = sliding(hours, now_ms % HOUR_MS / HOUR_MS)
        usual = await self._usual_of(rule_set, hour)
        return {
            rule: Counted(of_minute.get(rule, 0), number, usual.get(rule, 0))
            for rule, number in of_hour.items()
            if rule not in paused
        }

    async def _usual_of(self, rule_set: RuleSet, hour: int) -> dict[str, int]:
        """What each rule's busiest hour had, of those known for a week. Asked for once an hour."""
        if self._usual[0] != hour:
            since = await self._counters.since()
            known = {rule for rule, first in since.items() if first <= hour - WEEK_HOURS}
            busiest: Counter[str] = Counter()
            if known:
                for one in await self._counters.hours(range(hour - USUAL_DAYS * 24, hour - 1)):
                    busiest |= Counter({rule: number for rule, number in one.items() if rule in known})
            self._usual = hour, dict(busiest)
        return self._usual[1]

    async def _pause(self, whys: Mapping[str, str]) -> bool:
        """Publish a pause; whether that went well."""
        by = f"worker {socket.gethostname()}"[:100]
        try:
            entry = await pause(self._settings, self._clients, whys, by, on_behalf_of=BREAKER)
        except (Refused, Newer, Unavailable) as error:
            self.trouble = f"rules {', '.join(whys)} are beyond their bounds and could not be paused: {error}"
            log.error("rules are beyond their bounds and could not be paused", rules=whys, error=str(error))
            return False
        self.trouble = None
        if entry is not None:  # else another worker was quicker
            self._metrics.breaker_pauses.inc(len(whys))
            log.warning("the breaker pauses rules", rules=whys)
        return True
