"""The topics the engine needs: creating them, and saying what differs.

Enters: settings. Leaves: topics created, or a list of differences. Holds: nothing that exists is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, for_code

from engine.core.contract.topics import (
    DEAD_LETTERS,
    OWN,
    POOL_TOPICS,
    REROUTED,
    inbound_topics,
    intake_topics,
    written_topics,
)
from engine.runtime import clients as clients_
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.kafka.connection import discard, errors, partition_counts, reader, start
from engine.runtime.settings import OF_POOLS, PUBLISHED, Settings

log = structlog.get_logger(__name__)

DAY_MS: Final = 86_400_000
_FOREVER: Final = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_ANY_TIME: Final = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": str(2**63 - 1),
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
LARGEST: Final = "16777216"  # bytes of a record
TOPIC_BYTES: Final = "8388608"  # of the rule-set topic
_COMPACTED: Final = {"cleanup.policy": "compact"}
APPEND_TIME: Final = "LogAppendTime"
COMPACTED: Final = (
    "this topic is compacted: of a client's events Kafka may delete all but the last, decided or not. Set its "
    "cleanup.policy to delete"
)
PRODUCERS_TIME: Final = (
    "this topic takes its records' times from the producers: one whose clock is wrong changes the order of events, and "
    "its events count as of this worker's clock. Set its message.timestamp.type to LogAppendTime"
)


@dataclass(frozen=True, slots=True)
class Needed:
    """A topic as the engine needs it. `partitions` None: that of the inbound topics."""

    name: str
    partitions: int | None
    configs: dict[str, str] = field(default_factory=dict)


def needed(settings: Settings) -> list[Needed]:
    """Every topic. The inbound ones and the ledger have the same number of partitions, which can never change."""
    kept = {"retention.ms": str(7 * DAY_MS), "cleanup.policy": "delete"}
    pools = settings.scoped(*OF_POOLS)
    return [
        *(
            Needed(settings.topic(t), None, {**kept, "message.timestamp.type": "LogAppendTime"})
            for t in (*written_topics(), *sorted(OWN))
        ),
        # rerouted records keep their original time, whatever their topic took; the topic is part of the input, so it
        # is kept as long
        *(Needed(of.topic(REROUTED), None, {**kept, **_ANY_TIME}) for of in (settings, pools)),
        Needed(settings.ledger_topic, None, _FOREVER),
        Needed(pools.ledger_topic, None, {**_FOREVER, "max.message.bytes": LARGEST}),  # which a pool's state may need
        *(Needed(settings.topic(t), None, kept) for t in PUBLISHED if t != DEAD_LETTERS),
        # larger than an inbound record can be, so that nothing readable is too large to be put aside
        Needed(settings.topic(DEAD_LETTERS), None, {"retention.ms": str(90 * DAY_MS), "max.message.bytes": LARGEST}),
        Needed(settings.rule_set_topic, 1, {**_COMPACTED, "max.message.bytes": TOPIC_BYTES}),
        Needed(settings.resent_topic, 1, _COMPACTED),
    ]


async def differences(
    settings: Settings, clients: Clients, partitions: int | None = None
) -> tuple[list[Needed], list[str]]:
    """(topics that are missing, what differs in those that exist, one line each with the remedy)."""
    wanted = needed(settings)
    found = await partition_counts(settings, clients, [topic.name for topic in wanted])
    counts = {t: found[t] for t in (settings.topic(i) for i in inbound_topics()) if t in found}
    expected = partitions or (max(counts.values()) if counts else None)
    missing, lines = [], []
    for topic in wanted:
        if topic.name not in found:
            missing.append(topic)
            continue
        number = topic.partitions or expected
        same_as_inbound = topic.partitions is None and topic.name not in {settings.topic(t) for t in PUBLISHED}
        if same_as_inbound and number is not None and found[topic.name] != number:
            lines.append(
                f"{topic.name}: has {found[topic.name]} partitions, needs {number}, as many as the other inbound "
                f"topics and the ledger"
            )
    present = [topic for topic in wanted if topic.name in found and topic.configs]
    lines += await _config_differences(settings, clients, present)
    return missing, lines


async def _configs(settings: Settings, clients: Clients, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of each topic; nothing of a broker that knows no such request, as those for trials. Raises Refused
    when they cannot be read.
    """
    async with Admin(settings, clients) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        try:
            answers = await admin.describe_configs(resources) if resources else []
        except IncompatibleBrokerVersion:
            return {}
        values: dict[str, dict[str, str]] = {}
        for answer in answers:
            for error_code, message, _, name, entries in answer.resources:
                if error_code:
                    raise Refused(
                        f"{name}: its configuration cannot be read: {message or for_code(error_code).__name__}"
                    )
                values[name] = {entry[0]: entry[1] for entry in entries}
    return values


async def _config_differences(settings: Settings, clients: Clients, present: list[Needed]) -> list[str]:
    lines = []
    values = await _configs(settings, clients, [topic.name for topic in present])
    if present and not values:
        log.warning("this broker does not say how its topics are set: only names and partitions were compared")
        return []
    for topic in present:
        for key, value in topic.configs.items():
            have = values.get(topic.name, {}).get(key)
            if have != value:
                lines.append(f"{topic.name}: {key} is {have}, needs {value}")
    return lines


async def largest_record(settings: Settings, clients: Clients, name: str) -> int | None:
    """How many bytes a batch of this topic may have; None where that cannot be read."""
    try:
        value = (await _configs(settings, clients, [name])).get(name, {}).get("max.message.bytes", "")
    except (Refused, Unavailable) as error:
        log.debug("the topic's settings cannot be read", topic=name, error=str(error))
        return None
    return int(value) if value.isdigit() else None


async def doubtful(settings: Settings, clients: Clients) -> list[tuple[str, str]]:
    """Inbound topics whose settings let events be lost or misdated, with a warning; none where they cannot be read."""
    names = [settings.topic(topic) for topic in written_topics()]
    try:
        values = await _configs(settings, clients, names)
    except (Refused, Unavailable) as error:
        log.debug("the topics' settings cannot be read", error=str(error))
        return []
    found = [(name, COMPACTED) for name in names if "compact" in values.get(name, {}).get("cleanup.policy", "")]
    stamped = {name: values.get(name, {}).get("message.timestamp.type", APPEND_TIME) for name in names}
    return found + [(name, PRODUCERS_TIME) for name in names if stamped[name] != APPEND_TIME]


async def create(
    settings: Settings, clients: Clients, partitions: int, replication_factor: int
) -> tuple[list[str], list[str]]:
    """Create what is missing. (names created, differences that remain)."""
    missing, lines = await differences(settings, clients)
    counts = await partition_counts(settings, clients, [settings.topic(t) for t in inbound_topics()])
    partitions = max(counts.values(), default=partitions)
    async with Admin(settings, clients) as admin:
        new = [
            NewTopic(topic.name, topic.partitions or partitions, replication_factor, topic_configs=topic.configs)
            for topic in missing
        ]
        if new:
            answer = await admin.create_topics(new)
            for name, code, *message in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise Refused(f"{name}: cannot be created: {message[0] if message else for_code(code).__name__}")
    return [topic.name for topic in missing], lines


async def partition_count(settings: Settings, clients: Clients) -> int:
    """Partitions of the inbound topics and the ledger. Raises Refused when any topic is missing, or these differ."""
    names = {topic: settings.topic(topic) for topic in (*intake_topics(), *POOL_TOPICS)}
    wanted = [*names.values(), settings.ledger_topic]
    everything = [*wanted, settings.rule_set_topic, *(settings.topic(t) for t in PUBLISHED)]
    found = await partition_counts(settings, clients, everything)
    if any(name not in found for name in everything):
        # at once: where topics are not created on first use, each is waited for in vain
        await asyncio.gather(*(_touch(settings, clients, name) for name in everything if name not in found))
        found = await partition_counts(settings, clients, everything)
    missing = [name for name in everything if not found.get(name)]
    if missing:
        raise Refused(f"topics are missing: {', '.join(missing)}. Create them with `{settings.create_topics}`")
    counts = {name: found[name] for name in wanted}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in counts.items())
        raise Refused(
            f"inbound topics and the ledger must have the same number of partitions, but have: {listed}. A client's "
            f"records would meet on different partitions: recreate the odd ones with the number the others have"
        )
    return next(iter(counts.values()))


async def ledger_is_empty(settings: Settings, clients: Clients, partitions: int) -> bool:
    """Whether no decision was ever recorded."""
    tps = [TopicPartition(settings.ledger_topic, partition) for partition in range(partitions)]
    async with reader(settings, clients) as consumer:
        return not any((await consumer.end_offsets(tps)).values())


async def _touch(settings: Settings, clients: Clients, name: str) -> None:
    """Ask for a topic's metadata once: a broker that creates topics on first use does so now, others say no."""
    producer = clients.producer(**{**settings.kafka_client(), "request_timeout_ms": 1000})
    try:
        await producer.start()
        async with asyncio.timeout(1):
            await producer.partitions_for(name)
    except Exception:  # the caller looks again and says what is missing
        pass
    finally:
        await discard(producer)


class Admin:
    """An admin client, for a while."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._client = clients.admin(**settings.kafka_client())

    async def __aenter__(self) -> clients_.Admin:
        await start(self._client, self._settings)
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await self._client.close()
        if error is not None:
            with errors():
                raise error


def grown(topic: str, found: int, partitions: int) -> str:
    """What is wrong when a topic has more partitions than it had."""
    return (
        f"{topic} has {found} partitions now, it had {partitions}: what comes on the new ones would be read by nobody. "
        f"Recreate the topic with {partitions}"
    )
