"""Corrections of what a scenario's inputs say: before and after it comes, twice, one after another."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from engine.core.contract.corrections import CORRECTABLE
from engine.runtime.partitioning import partitioner

if TYPE_CHECKING:
    from collections.abc import Sequence


def values_of(inputs: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """The inputs that can be corrected, each with its value."""
    found = []
    for item in inputs:
        if item.topic not in CORRECTABLE or not item.key or not item.value:
            continue
        try:
            value = json.loads(item.value)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("time"), int) and "event_id" in value:
            found.append((item, value))
    return found


def corrected(random: Random, inputs: Sequence[Any], partitions: int, end_s: float, wall_ms: Any) -> list[Any]:
    found = values_of(inputs)
    made: list[Any] = []
    if not found:
        return made
    partition_of = partitioner(partitions)
    for number in range(random.choice((0, 2, 6, 15))):
        item, value = random.choice(found)
        at_s = min(max(item.at_s + random.choice((-0.5, 0.2, 1.0, 4.0)), 0.0), end_s)
        about = {"event_id": f"fix{number}", "client_id": item.key.decode(), "time": max(wall_ms(at_s), value["time"])}
        fields: dict[str, Any] = {"kind": "cancel", "topic": item.topic, "corrects": value["event_id"]}
        fields["original"] = value
        if random.random() < 0.5:
            other = dict(random.choice([v for i, v in found if i.topic == item.topic]))
            same = {name: value[name] for name in ("event_id", "client_id", "time", "type") if name in value}
            fields |= {"kind": "replace", "replacement": other | same}
        record = json.dumps(about | fields).encode()
        partition = partition_of(item.key)
        for _ in range(random.choice((1, 1, 2))):
            made.append(type(item)(at_s, "corrections", partition, item.key, record, wall_ms(at_s)))
            at_s = min(at_s + random.random() * 3, end_s)
    return made
