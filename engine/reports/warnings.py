"""The record of risk warnings: what was sent, who handled it, when and how, and how long that took.

Enters: actions, what followed them, and outcomes, as they were published. Leaves: a row for each warning.
Holds: nothing but records, so it can be made again as long as the topics keep them. A step counts once, by the first
record that says it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.contract.events import parse_time_ms
from engine.core.contract.outbound import CARED_KINDS, TOPIC_OF_KIND
from engine.operations.explain import first_since
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import partition_counts, reader, records_between
from engine.runtime.settings import Settings

OUTCOMES: Final = "outcomes"
TOPICS: Final = (*(TOPIC_OF_KIND[kind] for kind in CARED_KINDS), OUTCOMES)
RISK: Final = "risk"  # the class of the contact policy


@dataclass(slots=True)
class Warned:
    """One warning. Times are RFC 3339, as they were published; lengths are whole seconds since it was sent."""

    id: str
    client_id: str
    rule_id: str
    title: str
    kind: str
    owner: str
    advisor_id: str
    sent: str
    status: str = "open"  # accepted, done, declined, ended, retracted
    accepted: str = ""
    accepted_by: str = ""
    accepted_after_s: int | None = None
    closed: str = ""
    closed_by: str = ""
    closed_after_s: int | None = None
    code: str = ""
    not_reached: int = 0
    reminded: int = 0
    overdue: str = ""
    escalated: str = ""  # to whom, in order
    escalated_first: str = ""

    def after_s(self, time: str) -> int:
        return (parse_time_ms(time) - parse_time_ms(self.sent)) // 1000


def warnings(records: Iterable[dict[str, Any]], from_ms: int, to_ms: int) -> list[Warned]:
    """Of all records those of class risk that were sent in that time, the earliest first."""
    told = list(records)
    found = {
        one["id"]: Warned(
            advisor_id=one["advisor_id"] or "",
            sent=one["time"],
            **{name: one[name] for name in ("id", "client_id", "rule_id", "title", "kind", "owner")},
        )
        for one in told
        if "parameters" in one and one["class"] == RISK and from_ms <= parse_time_ms(one["time"]) < to_ms
    }
    for one in sorted(told, key=lambda one: parse_time_ms(one["time"])):
        warned = found.get(one.get("follows") or one.get("action_id") or "")
        if warned is not None:
            _note(warned, one)
    return sorted(found.values(), key=lambda warned: (parse_time_ms(warned.sent), warned.id))


def _note(warned: Warned, one: dict[str, Any]) -> None:
    """What a record says of a warning: an outcome, a step of its care, or that it is retracted."""
    status, time = one.get("status") or one.get("step") or "retracted", one["time"]
    if status == "accepted" and not warned.accepted:
        warned.accepted, warned.accepted_by = time, one.get("by") or ""
        warned.accepted_after_s = warned.after_s(time)
        warned.status = "accepted" if warned.status == "open" else warned.status
    elif status in ("done", "declined", "ended", "retracted") and not warned.closed:
        warned.status, warned.closed, warned.closed_by = status, time, one.get("by") or ""
        warned.closed_after_s, warned.code = warned.after_s(time), one.get("code") or ""
    elif status == "escalated":
        warned.escalated = ", ".join(filter(None, (warned.escalated, one["to"])))
        warned.escalated_first = warned.escalated_first or time
    elif status == "overdue":
        warned.overdue = time
    warned.reminded += status == "reminded"
    warned.not_reached += status == "not_reached"


def as_csv(found: Iterable[Warned]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Warned)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(warned) for warned in found)
    return out.getvalue()


async def recorded(
    settings: Settings, clients: Clients, from_ms: int, to_ms: int, moved: Callable[[int, int], None]
) -> list[Warned]:
    """From the topics, as far back as they are kept; `moved(done, of)` tells how many partitions were read."""
    names = {settings.topic(topic): topic for topic in TOPICS}
    counts = await partition_counts(settings, clients, list(names))
    if missing := [name for name in names if name not in counts]:
        raise Refused(f"there is no topic {missing[0]}: create it with `{settings.create_topics}`")
    tps = [TopicPartition(name, number) for name in names for number in range(counts[name])]
    records: list[dict[str, Any]] = []
    async with reader(settings, clients, list(names), fetch_max_wait_ms=20) as consumer:
        ends = await consumer.end_offsets(tps)
        for done, tp in enumerate(tps, 1):
            first = await first_since(consumer, tp, from_ms, ends[tp])
            async for record in records_between(consumer, tp, first, ends[tp]):
                if (value := _value(record.value)) is not None:
                    records.append(value)
            moved(done, len(tps))
    return warnings(records, from_ms, to_ms)


def _value(data: bytes | None) -> dict[str, Any] | None:
    """What producers of outcomes sent can be anything."""
    try:
        value = json.loads(data or b"")
        parse_time_ms(value["time"])
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, dict) else None
