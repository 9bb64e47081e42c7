"""The simulation with rules that run away: the breaker pauses them, an operator ends the pauses, and all else fails.

Whatever happens, nothing is lost, nothing goes out twice, and what a pause held ends.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from engine.core.client.sections import unpack
from engine.core.policy.holding import PAUSED, RULE, WHY
from engine.runtime.partitioning import partitioner
from tests.simulation.auditor import audit
from tests.simulation.rule_texts import FLOODING, FLOODS
from tests.simulation.run import run_scenario
from tests.simulation.scenario import CLIENTS, Fault, Input, Scenario, generate, wall_ms
from tests.simulation.world import World

pytestmark = pytest.mark.simulation

SEEDS = 60


def flooded(seed: int) -> Scenario:
    """What any seed has, but for backfills; and a burst of trades, and an operator who ends pauses."""
    scenario, chance = generate(Random(seed), seed), Random(f"{seed}: a flood")
    scenario.refusal, scenario.rebuild = "", None
    scenario.faults = [fault for fault in scenario.faults if not fault.kind.startswith("backfill")]
    begin_s = chance.uniform(0, scenario.end_s - 2)
    partition_of = partitioner(scenario.partitions)
    for number in range(chance.choice((30, 80))):
        at_s, client_id = begin_s + chance.uniform(0, 2), chance.choice(CLIENTS[:6])
        event = {"event_id": f"flood{number}", "client_id": client_id, "time": wall_ms(at_s), "symbol": "600000"}
        value = json.dumps(event | {"side": "buy", "quantity": 1, "amount_fen": 100}).encode()
        partition = partition_of(client_id.encode())
        scenario.inputs.append(Input(at_s, "trades", partition, client_id.encode(), value, wall_ms(at_s)))
    scenario.inputs = [
        Input(i.at_s, i.topic, i.partition, i.key, i.value, i.timestamp_ms, min(i.rule_set, 1)) for i in scenario.inputs
    ]
    for at_s in (chance.uniform(0, scenario.end_s), scenario.end_s - 0.1):
        kind = chance.choice(("resume", "resume killed at request", "resume paused at request"))
        seconds = 3.0 if "paused" in kind else 0.0
        scenario.faults.append(Fault(at_s, kind, chance.randint(0, 1), seconds, chance.randint(1, 12)))
    scenario.faults.sort(key=lambda fault: fault.at_s)
    scenario.inputs.sort(key=lambda item: item.at_s)
    return scenario


def judge(world: World) -> list[str]:
    """What the auditor demands of every run; and of what pauses held, that it ends once."""
    found = audit(world)
    told = [json.loads(entry.value or b"") for entry in _committed(world, "messages", "tasks")]
    floods = [action for action in told if action.get("rule_id") in FLOODS and "action_id" not in action]
    causes = Counter((one["rule_id"], one["client_id"], one["cause"]["event_id"]) for one in floods)
    found += [f"{about} went out {n} times" for about, n in causes.items() if n > 1 and about[2].startswith("flood")]
    plan, paused = world.plan(world.head()), {*world.paused()}
    assert plan is not None
    for key, fields in world.redis.data.hashes.items():
        waiting = unpack(plan.layout, fields["state"]).waiting if "state" in fields else []
        left = {held[RULE] for held in waiting if held[WHY] == PAUSED} - paused
        found += [f"{key} waits for the end of a pause of {', '.join(left)} that is over"] * bool(left)
    steps = [json.loads(e.value or b"{}") for e in _committed(world) if (e.key or b"").startswith(b"history/")]
    world.network.seen.update(f"{step['action']} by {step['by'].split()[0]}" for step in steps)
    world.network.seen.update(f"{step['action']} dropped" for step in steps if "not sent" in str(step["effects"]))
    outcomes = [entry for fields in world.redis.data.hashes.values() if "state" in fields
                for entry in unpack(plan.layout, fields["state"]).recent if entry[1] in FLOODS]  # fmt: skip
    world.network.seen.update(f"flood {entry[4]}" for entry in outcomes)
    return found


def _committed(world: World, *topics: str) -> list:
    names = [world.settings.topic(topic) for topic in topics] or [world.settings.rule_set_topic]
    logs = [log for tp, log in world.kafka.logs.items() if tp.topic in names]
    return [entry for log in logs for entry in log.committed()]


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_seeds(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + 20):
        result = run_scenario(flooded(seed), Random(seed), judge=judge, rules=FLOODING)
        assert result.violations == [], f"seed {seed}"
        happened += result.seen
    for what in ("pause by worker", "resume by ann", "resume dropped", "flood sent", "flood held"):
        assert happened[what] > 2, what
