"""What a journey of the simulation does, told from inputs and clocks alone.

Enters: inputs in order, each with what was published of it, and the client's time before and after. Leaves: faults.
Holds: it shares nothing with the engine but the records and the text of the journey (`WAY`, in rule_texts.py). Where
rules change, the moment at which a client is next looked at is the engine's: what it did must lie between two times.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.core.contract.message import Message
from engine.core.decide.path import Sweep
from engine.core.plan.compile import Plan

HOUR = 3_600_000
DUPLICATE_DAYS = 7


@dataclass
class Place:
    """Where a client is."""

    step: str = ""  # empty: in none
    entered: tuple[int, int] = (0, 0)  # not before, not after
    ended: tuple[int, int] | None = None


@dataclass(frozen=True)
class Way:
    least_fen: int
    rest_ms: int
    look: str
    look_ms: int
    again_ms: int


def way_of(plan: Plan) -> Way | None:
    text = dict(plan.rule_set.files).get("journeys/trader.yaml")
    if text is None:
        return None
    found = re.search(
        r">= (\d+), again: (\d+)h.*wait: (\d+)h.* (\w+): \{wait: \{on: logins.*timeout: (\d+)h", text, re.S
    )
    assert found is not None
    least, again, rest, look, timeout = found.groups()
    return Way(int(least) * 100, int(rest) * HOUR, look, int(timeout) * HOUR, int(again) * HOUR)


class JourneyAudit:
    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.seen: dict[tuple[str, str, str, int], int] = {}  # an event -> the client's day when it came
        self.looked: dict[str, str] = {}  # at each client by which rules
        self.lost: set[str] = set()  # a correction may have put another event in place of one: no longer followed

    def take(
        self, plan: Plan, item: Any, messages: Iterable[Message], left: bool, stood_ms: int, now_ms: int
    ) -> Iterator[str]:
        """`left`: it was counted that the client left a journey whose step is gone."""
        way, told = way_of(plan), [json.loads(m.value) for m in messages if m.topic == "tasks" and m.value]
        told = [one for one in told if one.get("rule_id", "").startswith("trader/")]
        acts = [(one["rule_id"], _ms(one["time"])) for one in told]
        led_on = any(one["cause"]["type"] == "logins" for one in told)
        topic, event = item if isinstance(item, tuple) else ("", None)
        client_id = event.client_id if event is not None else item.client_id
        if topic == "corrections":
            self.lost.add(client_id)
        if client_id in self.lost:
            return
        place = self.places.setdefault(client_id, Place())
        if event is not None:
            key, day = (client_id, topic, event.event_id, event.time), _day(max(stood_ms, event.time))
            if self.seen.get(key, -DUPLICATE_DAYS - 1) >= day - DUPLICATE_DAYS:
                topic, event = "", None
            else:
                self.seen[key] = day
        known = self.looked.get(client_id) == plan.rule_set.digest
        sure = event is not None or isinstance(item, Sweep) or known
        gone = place.step and (way is None or place.step not in ("rest", way.look))
        if left and not gone:
            yield f"{client_id}: left a journey at {place.step!r}, which is there"
        if sure or acts or left:
            self.looked[client_id] = plan.rule_set.digest
        done = [time for _, time in acts]
        expected = self._go(way, place, topic, event, stood_ms, now_ms, done, sure or left, known, led_on)
        if [rule for rule, _ in acts] != [f"trader/{step}" for step, _, _ in expected]:
            yield f"{client_id}: a journey did {acts}, not {expected}"
        elif not all(low <= time <= high for (_, time), (_, low, high) in zip(acts, expected, strict=True)):
            yield f"{client_id}: a journey did {acts}, not {expected} in time"

    def _go(
        self,
        way: Way | None,
        place: Place,
        topic: str,
        event: Any,
        stood: int,
        now: int,
        done: list[int],
        sure: bool,
        known: bool,
        led_on: bool,
    ) -> list[tuple[str, int, int]]:
        """The steps that act, each with when, not before and not after. `sure`: the client was looked at by these
        rules; `known`: and was before; `led_on`: a step acted because of the login.
        """
        expected: list[tuple[str, int, int]] = []
        while place.step:
            if not sure and len(done) == len(expected):
                break
            if way is None or place.step not in ("rest", way.look):
                place.step, place.ended = "", (stood, now)
                break
            length = way.rest_ms if place.step == "rest" else way.look_ms
            low, high = (max(time + length, stood) for time in place.entered)
            until = now if event is None else max(now, event.time)
            if low <= until and (high <= until or len(done) > len(expected)):
                high = min(max(high, low), now)
                if low == stood or not (known or expected):  # it may have been looked at later
                    high = now
                step = "again" if place.step == "rest" else "last"
                if len(done) > len(expected):
                    low = high = min(max(done[len(expected)], low), high)
                expected.append((step, low, high))
                if step == "again":
                    place.step, place.entered = way.look, (low, high)
                else:
                    place.step, place.ended = "", (low, high)
                continue
            # a login that found a wait over, since rules made that shorter, led on from there: it has been heard
            heard = topic == "logins" and event.success and not led_on
            if place.step == way.look and heard and event.time >= place.entered[0]:
                place.step, place.ended = "", (now, now)
            break
        if way is not None and topic == "trades" and event.amount_fen >= way.least_fen and not place.step:
            waits = place.ended is not None and now < place.ended[1] + way.again_ms
            may = place.ended is None or now >= place.ended[0] + way.again_ms
            if not waits or (may and len(done) > len(expected)):
                expected.append(("hello", now, now))
                place.step, place.entered = "rest", (now, now)
        return expected


def _day(moment_ms: int) -> int:
    return (moment_ms + 8 * HOUR) // (24 * HOUR)


def _ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)
