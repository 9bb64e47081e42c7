"""What a side of a benchmark used and did, and what it had to do.

Enters: figures and actions of each side, rules, records. Leaves: tables; whether the actions are those of an offline
replay. Holds: an action is its client, its rule and the event that caused it; one that is published twice is a
difference.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.day.job import Record
from benchmarks.wire import ACTION_TOPICS, Action, action_of
from engine.core.plan.compile import compile_rule_set
from engine.operations.replay import Replayed, replay_records
from engine.runtime.protocol.records import Inbound
from engine.runtime.rule_sets.archive import load_directory


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds are of CPU unless they are called wall."""

    events: int
    cpu_s: float
    wall_s: float
    start_cpu_s: float
    kafka_cpu_s: float
    redis_cpu_s: float
    peak_mb: float
    guarantee: str = "exactly once"

    @property
    def events_per_cpu_s(self) -> float:
        return self.events / self.cpu_s

    @property
    def with_redis(self) -> float:
        """Events per CPU-second of the worker and Redis together."""
        return self.events / (self.cpu_s + self.redis_cpu_s)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "events_per_cpu_s": self.events_per_cpu_s, "events_per_s": self.events / self.wall_s}


def expected(rules: Path, before: Sequence[Record], trades: Sequence[Record]) -> list[list[Action]]:
    """What an offline replay decides: the actions of each trade. None comes from the records before."""
    plan = compile_rule_set(load_directory(rules))
    records = (Inbound(r.topic, 0, number, r.time_ms, r.key, r.value) for number, r in enumerate([*before, *trades]))
    numbers = {json.loads(record.value)["event_id"]: number for number, record in enumerate(trades)}
    actions: list[list[Action]] = [[] for _ in trades]
    for message in replay_records(plan, records, Replayed()):
        if message.topic in ACTION_TOPICS:
            action = action_of(message.value or b"")
            actions[numbers[action.event_id]].append(action)
    return actions


def same_actions(who: str, published: Sequence[Action], wanted: Sequence[Sequence[Action]]) -> bool:
    """Say whether they are the same, and how they differ."""
    found, needed = Counter(published), Counter(action for actions in wanted for action in actions)
    share = f"{needed.total() / len(wanted):.1%} of the trades"
    said = "the same" if found == needed else "NOT THE SAME"
    print(f"{who}: {len(published):,} actions, {needed.total():,} expected ({share}): {said}", flush=True)
    for word, difference in (("missing", needed - found), ("not expected", found - needed)):
        if difference:
            print(f"  {difference.total():,} {word}, such as {', '.join(map(str, [*difference][:3]))}")
    return found == needed


ROWS: Sequence[tuple[str, Callable[[Measured], str]]] = (
    ("events", lambda m: f"{m.events:,}"),
    ("guarantee", lambda m: m.guarantee),
    ("CPU seconds", lambda m: f"{m.cpu_s:.2f}"),
    ("events per CPU-second", lambda m: f"{m.events_per_cpu_s:,.0f}"),
    ("  with Redis' CPU", lambda m: f"{m.with_redis:,.0f}" if m.redis_cpu_s else "-"),
    ("wall seconds", lambda m: f"{m.wall_s:.1f}"),
    ("events per second", lambda m: f"{m.events / m.wall_s:,.0f}"),
    ("CPU seconds to start", lambda m: f"{m.start_cpu_s:.2f}"),
    ("Kafka's CPU seconds", lambda m: f"{m.kafka_cpu_s:.2f}"),
    ("Redis' CPU seconds", lambda m: f"{m.redis_cpu_s:.2f}" if m.redis_cpu_s else "-"),
    ("peak memory, MB", lambda m: f"{m.peak_mb:.0f}"),
)


def print_table(sides: Mapping[str, Measured]) -> None:
    print("\n" + " " * 24 + "".join(f"{name:>18}" for name in sides))
    for title, shown in ROWS:
        print(f"{title:<24}" + "".join(f"{shown(side):>18}" for side in sides.values()), flush=True)
