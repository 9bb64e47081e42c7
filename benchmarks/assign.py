"""`python -m benchmarks.assign`: what a request for an advisor costs, without Kafka or Redis.

Enters: nothing. Leaves: CPU microseconds a request, by how many requests a unit has; the loads at the end.
Holds: process CPU time of decoding, deciding, encoding the answers and packing each pool that a unit changed, as the
worker does; every client is answered, and nobody has more than fits, else it fails.
"""

from __future__ import annotations

import gc
import json
import time
from random import Random

from engine.core.assign.roster import Advisor, Assignment, Pool
from engine.core.assign.state import PoolState
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.pace import Pace
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Taken
from engine.core.rules.policy import ContactPolicy
from engine.core.rules.ruleset import RuleSet, Tiers
from engine.processors.assignment import ASSIGNMENT, State
from engine.rulefile.source.fields import ALWAYS

REQUESTS = 100_000
ADVISORS = 2_000
POOLS = 40
CAPACITY = 110
WEIGHTS = {"A": 3, "B": 2, "C": 1}
UNITS = (1, 20, 200)  # requests a unit; at 200 a second a worker has some 1 to 20
BEGIN_MS = 1_772_000_000_000
SKILLS = ("funds", "options", "pensions")


def plan() -> Plan:
    random = Random(7)
    pools = tuple(Pool(f"pool-{number}", ALWAYS, "wealth") for number in range(POOLS))
    advisors = tuple(
        Advisor(
            name=f"adv-{number:04}",
            pool=f"pool-{number % POOLS}",
            capacity=CAPACITY,
            languages=random.choice(((), ("zh",), ("zh", "en"))),
            skills=tuple((skill, random.randint(1, 9)) for skill in SKILLS),
        )
        for number in range(ADVISORS)
    )
    assignment = Assignment(pools, tuple(WEIGHTS.items()))
    return compile_rule_set(
        RuleSet("", (), (), Tiers({}, (), None), ContactPolicy(), (), assignment=assignment, advisors=advisors)
    )


def records() -> list[tuple[bytes, bytes]]:
    random = Random(8)
    found = []
    for number in range(REQUESTS):
        pool = f"pool-{random.randrange(POOLS)}"
        record = {
            "event_id": f"r{number}",
            "client_id": pool,
            "time": BEGIN_MS + number * 5,
            "kind": "assign",
            "request_id": f"r{number}",
            "client": f"C{number}",
            "tier": random.choices(("A", "B", "C"), (1, 3, 6))[0],
            "region": None,
            "language": "zh",
            "needs": [f"{random.choice(SKILLS)}:{random.randint(1, 5)}"],
            "priority": 50,
        }
        found.append((pool.encode(), json.dumps(record).encode()))
    return found


def work(plan: Plan, given: list[tuple[bytes, bytes]], unit: int) -> tuple[float, dict[str, PoolState]]:
    states: dict[str, State] = {}
    answers, pace = 0, Pace()
    began = time.process_time()
    for first in range(0, len(given), unit):
        inputs = []
        for key, value in given[first : first + unit]:
            taken = ASSIGNMENT.decode(plan, ASSIGNMENT_REQUESTS.name, key, value, BEGIN_MS + REQUESTS * 5)
            assert isinstance(taken, Taken)
            inputs.append(ASSIGNMENT.arrived(ASSIGNMENT_REQUESTS.name, taken.event))
        decided = ASSIGNMENT.decide(plan, states, inputs, 0, pace)
        answers += len(decided.messages)
        for pool in decided.changed.values():
            ASSIGNMENT.write(pool, ASSIGNMENT.pack(plan, pool))
    took = time.process_time() - began
    assert answers == len(given)
    return took, {name: state for name, state in states.items() if isinstance(state, PoolState)}


def main() -> None:
    of, given = plan(), records()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    print(f"{REQUESTS:,} requests, {ADVISORS:,} advisors in {POOLS} pools")
    for unit in UNITS:
        part = given[: REQUESTS // 10] if unit == 1 else given
        took, pools = work(of, part, unit)
        print(f"units of {unit:>3}: {took / len(part) * 1_000_000:7.0f} us a request, of {len(part):,}")
    loads = [load for pool in pools.values() for load in pool.loads.values()]
    held = sum(len(pool.book) for pool in pools.values())
    assert max(loads) <= CAPACITY
    print(f"{held:,} clients have somebody; loads {min(loads)} to {max(loads)} of {CAPACITY}")


if __name__ == "__main__":
    main()
