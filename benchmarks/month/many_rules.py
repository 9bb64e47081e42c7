"""What the month's trades cost with ten times its rules, in one process without Kafka and Redis.

Enters: nothing. Leaves: CPU microseconds of `decide` a trade, and actions a trade, by number of rules.
Holds: the further rules have the form of the month's own and its values of tier, trades and turnover, but ask for 4 to
20 times the amount: they are all looked for, and the actions stay nearly the same, so that the rules' cost is compared
and not that of actions. Process CPU time, the best of three.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.day.job import SEED
from benchmarks.decide import best_us, decide_all
from benchmarks.month.job import Month, write_rules
from benchmarks.peers.logic import RULES, Rule, rules
from engine.core.decide.path import decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Rejected, decode
from engine.runtime.rule_sets.archive import load_directory

CLIENTS: Final = 2_000
TRADES: Final = 30_000


def _rules(times: int) -> list[Rule]:
    draw, own = random.Random(SEED), list(rules())
    further = [
        rule._replace(id=f"{rule.id}-{number}", amount=int(rule.amount * draw.uniform(4, 20)))
        for number in range(1, times)
        for rule in own
    ]
    return own + further


def measure() -> dict[int, dict[str, float]]:
    month = Month(CLIENTS)
    events: list[list[Any]] = []
    for records in (month.profiles(), month.trades(TRADES)):
        events.append([])
        for record in records:
            taken = decode(record.topic, record.key, record.value, record.time_ms)
            assert not isinstance(taken, Rejected)
            events[-1].append((record.topic, taken.event))
    profiles, trades = events
    found: dict[int, dict[str, float]] = {}
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as directory:
            plan = compile_rule_set(load_directory(write_rules(Path(directory), _rules(times))))

        def known(plan: Plan = plan) -> dict[str, Any]:
            states: dict[str, Any] = {}
            decide(plan, states, profiles)
            return states

        def deciding(states: dict[str, Any], plan: Plan = plan) -> int:
            return decide_all(plan, states, trades)

        found[times * RULES] = {
            "decide_us": best_us(known, deciding, TRADES),
            "actions": deciding(known()) / TRADES,
        }
    return found
