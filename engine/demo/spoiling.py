"""What producers get wrong: records that no engine may accept, and records in which one field is odd.

Enters: a good record. Leaves: one like it. Holds: nothing but the arguments decides which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.core.contract.topic import COMMON, Topic
from engine.core.contract.topics import TOPICS
from engine.core.firm_time import DAY_MS
from engine.core.reading.decode import fallbacks
from engine.demo.own_events import OPTIONAL
from engine.operations.record_file import SimulatedRecord, to_json

BAD_KINDS: Final = 13


def _to_spoil(topic: Topic) -> tuple[str | None, str]:
    """Fields without which an event means nothing: a number that is never below zero, if there is one; any other."""
    needed = [name for name in topic.model.model_fields if name in topic.model.essential and name not in ("time",)]
    number = next((name for name in needed if topic.bounds(name)[0] >= 0), None)
    return number, next((name for name in needed if topic.choices(name)), "event_id")


def _of_another(topic: Topic | None) -> dict[str, Any]:
    """The fields of an event of another topic."""
    others = [other for other in TOPICS.values() if other is not topic]
    return next(
        dict(other.example)
        for other in others
        if other.example and all(name in other.example for name in other.model.essential if name not in COMMON)
    )


def spoil(record: SimulatedRecord, kind: int) -> SimulatedRecord:
    """A record like this one that no engine may accept, in one of BAD_KINDS ways."""
    assert isinstance(record.value, dict)
    key, good = record.key, record.value
    text = to_json(good)
    topic = TOPICS.get(record.topic)
    amount, needed = _to_spoil(topic) if topic else (None, "type")
    match kind:
        case 0:
            value = text[: len(text) // 2]  # not JSON
        case 1:
            value = b"\xff\xfe" + text  # not UTF-8
        case 2:
            value = to_json([good])  # not an object
        case 3:
            value = to_json({name: v for name, v in good.items() if name != needed})
        case 4:
            value = to_json(good | {needed: [7]})
        case 5 if amount:
            value = to_json(good | {amount: -1})
        case 6:
            value = to_json(good | {"time": record.time_ms + 3650 * DAY_MS})
        case 7:
            key, value = None, text
        case 8:
            value = to_json(good | {"client_id": "C-SOMEONE-ELSE"})
        case 9:
            value = to_json({"before": None, "after": good, "op": "c"})
        case 10:
            value = text[:-1] + b',"client_id":"C-SOMEONE-ELSE"}'
        case 11:
            value = to_json({name: good[name] for name in COMMON} | _of_another(topic))
        case _:
            value = to_json(good | {needed: "from Mars"})
    return SimulatedRecord(record.topic, key, record.time_ms, value)


_ODD: Final[tuple[Any, ...]] = (None, "no such value", -7, 1.5, ["x"], {})


def blur(record: SimulatedRecord, uniform: Callable[[], float]) -> SimulatedRecord:
    """The record with one field absent, null, or of a value that cannot be read. The event is accepted all the same."""
    assert isinstance(record.value, dict)
    value = dict(record.value)
    topic = TOPICS.get(record.topic)
    names = [name for name in (fallbacks(topic.model) if topic else OPTIONAL[value["type"]]) if name in value]
    if not names:
        return record
    name = names[int(uniform() * len(names))]
    chance = int(uniform() * (len(_ODD) + 2))
    if chance < len(_ODD):
        value[name] = _ODD[chance]
    elif chance == len(_ODD) and isinstance(value[name], dict):  # one channel of the consents
        within = sorted(value[name])
        value[name] = value[name] | {within[int(uniform() * len(within))]: "yes"}
    else:
        del value[name]
    return SimulatedRecord(record.topic, record.key, record.time_ms, value)
