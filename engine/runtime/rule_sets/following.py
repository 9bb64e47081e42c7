"""The rule set that a worker uses: the head of the rule-set topic, or the last good one.

Enters: records of the rule-set topic, a directory of rule files to publish. Leaves: the active plan.
Holds: a set that cannot be loaded never replaces one that can, and a worker that does not use the head reports it.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Final

import structlog
from aiokafka.errors import OffsetOutOfRangeError

from engine.core.contract.message import rfc3339
from engine.core.plan.compile import Plan
from engine.core.rules.day_lists import SOON_DAYS, days_left, ends_in_words, in_words
from engine.core.rules.policy import Pause
from engine.core.rules.ruleset import RuleSet, fillable
from engine.runtime.clients import Clients
from engine.runtime.errors import Newer, Refused, Unavailable
from engine.runtime.kafka.connection import reader
from engine.runtime.observe.metrics import Metrics
from engine.runtime.rule_sets.archive import READ_WITH, Action, RuleSetArchive, load_directory
from engine.runtime.rule_sets.carrying import carried
from engine.runtime.rule_sets.publishing import publish
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

WATCH_S: Final = 1.0


class RuleSets:
    """Follows the head. `plan` is the active one."""

    def __init__(self, settings: Settings, clients: Clients, metrics: Metrics) -> None:
        self._settings = settings
        self._clients = clients
        self._metrics = metrics
        self._archive = RuleSetArchive(settings, clients)
        self._plan: Plan | None = None
        self.trouble: str | None = None  # why the newest rules are not active here
        self._given: RuleSet | None = None  # by the directory, until it is published
        self._paused: dict[str, Pause] = {}  # as it was last told
        self._watched: object = None  # the files as they were last taken or refused

    @property
    def plan(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def in_words(self) -> dict[str, str | None]:
        """What the health page shows."""
        return {"in_force": self._plan.rule_set.digest if self._plan else None, "head": self._archive.head}

    def days_left(self) -> dict[str, int]:
        """Of each list of days of the active set."""
        return days_left(self._plan.rule_set.last_days, self._clients.wall_ms()) if self._plan else {}

    @property
    def fillable(self) -> frozenset[str]:
        """The features of the active set that a backfill can compute."""
        return fillable(self._plan.rule_set.features) if self._plan else frozenset()

    def warnings(self) -> list[str]:
        """Rules that are paused. Lists of days, and the calendar, that end soon or have ended."""
        last_days = self._plan.rule_set.last_days if self._plan else {}
        return [
            f"rule {pause.rule} is paused since {rfc3339(pause.since_ms)} by {pause.by} ({pause.why}): find out why, "
            f"then run `engage rules resume {pause.rule} --note WHY`, with --drop if what it held is not to be sent"
            for pause in (self._plan.rule_set.paused if self._plan else ())
        ] + [
            f"{in_words(name)} {ends_in_words(last_days[name], left)}: add the next days, and publish"
            for name, left in self.days_left().items()
            if left <= SOON_DAYS
        ]

    async def read_given(self) -> None:
        """Read the directory of rules at once: what is wrong there need not wait for Kafka. Raises Refused."""
        if self._settings.rules is not None:
            self._watched = _fingerprint(self._settings.rules)
            self._given = await self._clients.aside(load_directory, self._settings.rules)

    async def start(self) -> None:
        """Read the topic; publish the rules given unless they are the head already. Raises Refused without a good set.

        A worker that cannot load the head uses the newest set that was active and that it can load, like a worker that
        ran when the head came: yesterday's rules are better than none. Both are reported in the same way.
        """
        if self._given is None:
            await self.read_given()
        given = self._given
        await self._archive.read()
        if given is not None and carried(self._archive, given).digest != self._archive.head:
            try:
                await self._publish(given, "start", f"--rules {self._settings.rules}")
            except Newer as error:
                log.warning("the rules given are not published", error=str(error))
            await self._archive.read()
        for digest in dict.fromkeys((*filter(None, [self._archive.head]), *self._archive.newest_first())):
            if await self._take(digest):
                break
        self._given = None
        if self._plan is None:
            raise Refused("no rule set on the topic can be loaded: give --rules DIRECTORY, or run `engage publish`")

    async def _publish(self, rule_set: RuleSet, action: Action, note: str) -> None:
        by = f"worker {socket.gethostname()}"[:100]
        await publish(self._settings, self._clients, rule_set, by, note[:500], action)

    async def _take(self, digest: str) -> bool:
        """Make a rule set active, if it can be loaded."""
        try:
            self._plan = await self._clients.aside(self._archive.plan, digest)
        except Exception as error:  # whatever is wrong with a published set must not stop a worker that has a good one
            self.refuse(str(error), digest)
            return False
        self._archive.forget_plans_but(digest)
        self._tell_pauses(self._plan.rule_set)
        self._metrics.rule_set_in_force(digest)
        self._metrics.uses(None, self._plan.rule_set)
        if digest == self._archive.head:
            self._well()
        log.info("rule set loaded", digest=digest, rules=len(self._plan.rule_set.rules))
        return True

    def _tell_pauses(self, rule_set: RuleSet) -> None:
        """Log what is paused by now, and what is not any more."""
        before, self._paused = self._paused, {pause.rule: pause for pause in rule_set.paused}
        self._metrics.rules_paused(self._paused)
        for rule, pause in self._paused.items():
            if before.get(rule) != pause:
                log.warning("rule paused: what is due is held", rule=rule, by=pause.by, why=pause.why)
        for rule in before.keys() - self._paused.keys():
            log.info("rule no longer paused", rule=rule)

    async def _take_head(self) -> None:
        archive = self._archive
        if archive.head is None:
            return
        if self.plan.rule_set.digest == archive.head:
            self._well()
        else:
            await self._take(archive.head)

    def _well(self) -> None:
        """The head is active here."""
        named = self._archive.named_head
        if named is not None and named != self._archive.head:
            unread = self._archive.newer
            self.refuse(unread or "it became the head without the approval that the active set asks for", named)
            return
        self.trouble = None
        self._metrics.rule_set_stale.set(0)

    def refuse(self, reason: str, digest: str | None = None) -> None:
        """Keep the last good set, and report it."""
        self.trouble = f"rule set {digest} refused: {reason}" if digest else reason
        self._metrics.rule_set_refused.inc()
        self._metrics.rule_set_stale.set(1)
        log.error("rule set refused, the last good one stays active", digest=digest, reason=reason)

    async def follow(self) -> None:
        """Follow the topic for ever. Raises Unavailable if Kafka is away; then call again."""
        archive = self._archive
        async with reader(self._settings, self._clients, fetch_max_wait_ms=2000, **READ_WITH) as consumer:
            consumer.assign([archive.tp])
            consumer.seek(archive.tp, archive.next)
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=2000)
                except OffsetOutOfRangeError:
                    self.refuse(
                        "the topic of rule sets was created again: publish the rules again, and restart the workers"
                    )
                    raise
                for record in fetched.get(archive.tp, ()):
                    archive.take(record)
                if fetched:
                    await self._take_head()

    async def watch(self, directory: Path) -> None:
        """Publish the directory whenever its files change, for ever; a bad state of it is reported and left alone.

        Raises Unavailable when Kafka is away; call again: what could not be published then is published.
        """
        while True:
            await asyncio.sleep(WATCH_S)
            now = _fingerprint(directory)
            if now == self._watched:
                continue
            try:
                rule_set = await self._clients.aside(load_directory, directory)
                if carried(self._archive, rule_set).digest != self._archive.head:
                    await self._publish(rule_set, "watch", f"--watch {directory}")
                else:
                    self._well()
            except Unavailable:
                raise
            except Exception as error:  # whatever is wrong with new files must not stop a worker that has good rules
                self.refuse(str(error) if isinstance(error, Refused) else repr(error))
            self._watched = now


def _fingerprint(directory: Path) -> object:
    found: list[object] = []
    for path in sorted((*directory.glob("*"), *directory.glob("journeys/*"))):
        try:
            stat = path.stat()
        except OSError as error:  # gone meanwhile, a loop of links, not allowed: loading says so, if it matters
            found.append((path.name, error.errno))
        else:
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return found
