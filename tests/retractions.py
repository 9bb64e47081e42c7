"""What must be retracted, told from what was published and what was corrected alone.

Enters: inputs in order, each with what was published of it. Leaves: faults.
Holds: it shares nothing with the engine but the records: an action is known by the event that its `cause` names.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from engine.core.contract.corrections import CORRECTABLE, Correction
from engine.core.contract.message import Message
from engine.core.contract.topics import TOPICS

Cause = tuple[str, str, str, int]  # client, kind, event id, time
REMEMBERED = 16
DAYS_MS = 30 * 86_400_000  # less than the engine's reach, whatever the hour


def _ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


class Retractions:
    def __init__(self) -> None:
        self.standing: dict[Cause, list[str]] = defaultdict(list)  # ids of actions
        self.sent: dict[str, list[tuple[str, int]]] = defaultdict(list)  # of each client: id, when
        self.corrected: set[Cause] = set()
        self.retracted: list[str] = []

    def take(self, item: Any, messages: Iterable[Message]) -> list[str]:
        told = [(m, json.loads(m.value)) for m in messages if m.value and m.topic != "decisions"]
        back = [(m, value) for m, value in told if dict(m.headers).get("ce_type") == b"engage.retraction.v1"]
        faults: list[str] = []
        if isinstance(item, tuple) and isinstance(item[1], Correction):
            faults = self._correct(item[1], back)
        elif back:
            faults = [f"{value['action_id']} was retracted without a correction" for _, value in back]
        for _, value in told:
            if "parameters" in value:
                self._sent(value)
        return faults

    def _sent(self, action: dict[str, Any]) -> None:
        cause = action["cause"]
        if cause["type"] in CORRECTABLE or cause["type"] not in (*TOPICS, "timer"):
            key = (action["client_id"], cause["type"], cause["event_id"], _ms(cause["time"]))
            self.standing[key].append(action["id"])
            self.sent[action["client_id"]].append((action["id"], _ms(action["time"])))

    def _correct(self, correction: Correction, back: list[tuple[Message, dict[str, Any]]]) -> list[str]:
        original, new = correction.original, correction.replacement
        kind = original.type if correction.topic == "events" else correction.topic
        key = (correction.client_id, kind, original.event_id, original.time)
        faults, standing = [], self.standing[key]
        for message, value in back:
            said, id_ = value["event"], value["action_id"]
            if (value["client_id"], said["type"], said["event_id"], _ms(said["time"])) != key or id_ not in standing:
                faults.append(f"{id_} was retracted, and does not stand by {key}")
                continue
            standing.remove(id_)
            self.retracted.append(id_)
            if (
                dict(message.headers)["ce_retracts"] != id_.encode()
                or value["cause"]["event_id"] != correction.event_id
            ):
                faults.append(f"the retraction of {id_} names something else")
        if key not in self.corrected:
            self.corrected.add(key)
            if new is None:
                last = {id_ for id_, at in self.sent[key[0]][-REMEMBERED:] if at > correction.time - DAYS_MS}
                faults += [f"{id_} was not retracted, though {key} is cancelled" for id_ in standing if id_ in last]
            else:
                self.standing[(key[0], kind, new.event_id, new.time)] += self.standing.pop(key)
        return faults
