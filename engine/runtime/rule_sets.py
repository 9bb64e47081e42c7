"""Rule sets on their topic: publishing one, and following the newest.

Enters: rule files, records of the rule-set topic. Leaves: the plan in force.
Holds: a set that cannot be loaded never replaces one that can; whatever is on the topic can be loaded again from it
alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition

from engine.core.plan import Plan, compile_rule_set
from engine.core.ruleset import RuleSet
from engine.rulefile import DirectoryError, load, read_directory
from engine.runtime.kafka import discard, errors, reader, records_between
from engine.runtime.ledger import Refused
from engine.runtime.metrics import Metrics
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

HEAD: Final = b"head"
WATCH_S: Final = 1.0


def load_directory(directory: Path) -> RuleSet:
    """The rule set of a directory. Raises Refused with every problem of every file."""
    try:
        files = read_directory(directory)
    except DirectoryError as error:
        raise Refused(str(error)) from error
    return load_files(files, f"the rules in {directory}")


def load_files(files: Mapping[str, str], whose: str) -> RuleSet:
    rule_set = load(files)
    if isinstance(rule_set, RuleSet):
        return rule_set
    raise Refused(f"{whose} are refused, {len(rule_set)} problems:\n" + "\n".join(map(str, rule_set)))


async def publish(settings: Settings, rule_set: RuleSet) -> None:
    """Append a rule set and move the head to it. Harmless when it is there already."""
    producer = AIOKafkaProducer(**settings.kafka_client(), enable_idempotence=True, max_request_size=8_000_000)
    with errors():
        try:
            async with asyncio.timeout(15):
                await producer.start()
            value = json.dumps({"files": dict(rule_set.files)}, ensure_ascii=False).encode()
            await producer.send_and_wait(settings.rule_set_topic, value, key=rule_set.digest.encode(), partition=0)
            await producer.send_and_wait(settings.rule_set_topic, rule_set.digest.encode(), key=HEAD, partition=0)
        finally:
            await discard(producer)
    log.info("rule set published", digest=rule_set.digest, rules=len(rule_set.rules))


class RuleSetArchive:
    """Every rule set that the topic holds, and which is the head."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tp = TopicPartition(settings.rule_set_topic, 0)
        self.head: str | None = None
        self.next = 0
        self._files: dict[str, dict[str, str]] = {}
        self._plans: dict[str, Plan] = {}

    async def read(self) -> None:
        """Read the topic to its end."""
        async with reader(self._settings) as consumer:
            first = (await consumer.beginning_offsets([self.tp]))[self.tp]
            end = (await consumer.end_offsets([self.tp]))[self.tp]
            async for record in records_between(consumer, self.tp, max(first, self.next), end):
                self.add(record.key, record.value)
            self.next = max(self.next, end)

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record of the topic."""
        if key == HEAD and value:
            self.head = value.decode("utf-8", "replace")
        elif key and value:
            try:
                self._files[key.decode()] = dict(json.loads(value)["files"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                log.error(
                    "a record of the rule-set topic cannot be read",
                    key=key.decode("utf-8", "replace"),
                    error=str(error),
                )

    def newest_first(self) -> list[str]:
        """Digests in the order of publishing, the last first."""
        return list(reversed(self._files))

    def plan(self, digest: str) -> Plan:
        """The rule set of this digest, compiled. Raises Refused when it is not held or not accepted."""
        plan = self._plans.get(digest)
        if plan is None:
            files = self._files.get(digest)
            if files is None:
                raise Refused(f"the topic {self.tp.topic} does not hold the rule set {digest}")
            plan = self._plans[digest] = compile_rule_set(load_files(files, f"the rules of rule set {digest}"))
        return plan


class RuleSets:
    """Follows the head. `plan` is the one in force."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._archive = RuleSetArchive(settings)
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        assert self._plan is not None
        return self._plan

    async def start(self) -> None:
        """Read the topic; publish the rules given unless they are the head already. Raises Refused without a good
        set.
        """
        given = load_directory(self._settings.rules) if self._settings.rules else None
        await self._archive.read()
        if given is not None and given.digest != self._archive.head:
            await publish(self._settings, given)
            await self._archive.read()
        for digest in dict.fromkeys((*filter(None, [self._archive.head]), *self._archive.newest_first())):
            if self._take(digest):
                break
        if self._plan is None:
            raise Refused(
                "there is no rule set to go by that can be loaded: give --rules DIRECTORY, or publish one first"
            )

    def _take(self, digest: str) -> bool:
        """Put a rule set in force, if it can be loaded."""
        try:
            self._plan = self._archive.plan(digest)
        except Exception as error:  # whatever is wrong with a published set must not stop a worker that has a good one
            self.refuse(str(error), digest)
            return False
        self._metrics.rule_set_in_force(digest)
        self._metrics.rule_set_stale.set(digest != self._archive.head)
        log.info("rule set loaded", digest=digest, rules=len(self._plan.rule_set.rules))
        return True

    def _take_head(self) -> None:
        head = self._archive.head
        if head is None:
            return
        if self.plan.rule_set.digest == head:
            self._metrics.rule_set_stale.set(0)
        else:
            self._take(head)

    def refuse(self, reason: str, digest: str | None = None) -> None:
        """Keep the last good set, loudly."""
        self._metrics.rule_set_refused.inc()
        self._metrics.rule_set_stale.set(1)
        log.error("rule set refused, the last good one stays in force", digest=digest, reason=reason)

    async def follow(self) -> None:
        """Keep up with the topic, for ever. Raises Unavailable when Kafka is away; call again."""
        archive = self._archive
        async with reader(self._settings, fetch_max_wait_ms=2000) as consumer:
            consumer.assign([archive.tp])
            consumer.seek(archive.tp, archive.next)
            while True:
                fetched = await consumer.getmany(timeout_ms=2000)
                for record in fetched.get(archive.tp, ()):
                    archive.add(record.key, record.value)
                    archive.next = record.offset + 1
                if fetched:
                    self._take_head()

    async def watch(self, directory: Path) -> None:
        """Publish the directory whenever its files change, for ever; a bad state of it is reported and left alone."""
        seen = _fingerprint(directory)
        while True:
            await asyncio.sleep(WATCH_S)
            now = _fingerprint(directory)
            if now == seen:
                continue
            seen = now
            try:
                rule_set = load_directory(directory)
            except Refused as error:
                self.refuse(str(error))
                continue
            if rule_set.digest != self._archive.head:
                await publish(self._settings, rule_set)
            else:
                self._metrics.rule_set_stale.set(0)


def _fingerprint(directory: Path) -> object:
    found = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return found
