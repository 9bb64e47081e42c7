"""`python -m benchmarks.assign`: what a request for an advisor costs, without Kafka or Redis; with `--kafka`: its time.

Enters: nothing. Leaves: CPU microseconds a request, by how many requests a unit has; the loads at the end.
Holds: process CPU time of decoding, deciding, encoding the answers and packing each pool that a unit changed, as the
worker does; every client is answered, and nobody has more than fits, else it fails.
"""

from __future__ import annotations

import argparse
import gc
import time
from random import Random

from benchmarks.assign_live import ADVISORS, CAPACITY, POOLS, WEIGHTS, live, request, roster
from engine.core.assign.roster import Advisor, Assignment, Pool
from engine.core.assign.state import PoolState
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.pace import Pace
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Taken
from engine.core.rules.policy import ContactPolicy
from engine.core.rules.ruleset import RuleSet, Tiers
from engine.processors.assignment import ASSIGNMENT, Input, State
from engine.rulefile.source.fields import ALWAYS

REQUESTS = 100_000
UNITS = (1, 20, 200)  # requests a unit; at 200 a second a worker has some 1 to 20
BEGIN_MS = 1_772_000_000_000


def plan() -> Plan:
    pools = tuple(Pool(f"pool_{number}", ALWAYS, "wealth") for number in range(POOLS))
    advisors = tuple(
        Advisor(name=name, pool=pool, capacity=CAPACITY, languages=languages, skills=skills)
        for name, pool, languages, skills in roster()
    )
    assignment = Assignment(pools, tuple(WEIGHTS.items()))
    return compile_rule_set(
        RuleSet("", (), (), Tiers({}, (), None), ContactPolicy(), (), assignment=assignment, advisors=advisors)
    )


def records() -> list[tuple[bytes, bytes]]:
    random = Random(8)
    return [request(random, f"r{number}", BEGIN_MS + number * 5) for number in range(REQUESTS)]


def work(plan: Plan, given: list[tuple[bytes, bytes]], unit: int) -> tuple[float, dict[str, PoolState]]:
    states: dict[str, State] = {}
    answers, pace = 0, Pace()
    began = time.process_time()
    for first in range(0, len(given), unit):
        inputs: list[Input] = []
        for key, value in given[first : first + unit]:
            taken = ASSIGNMENT.decoder(plan)(ASSIGNMENT_REQUESTS.name, key, value, BEGIN_MS + REQUESTS * 5)
            assert isinstance(taken, Taken)
            inputs += ASSIGNMENT.arrived([(ASSIGNMENT_REQUESTS.name, taken.event)])
        decided = ASSIGNMENT.decide(plan, states, inputs, 0, pace)
        answers += len(decided.messages)
        for pool in decided.changed.values():
            ASSIGNMENT.write(pool, ASSIGNMENT.pack(plan, pool))
    took = time.process_time() - began
    assert answers == len(given)
    return took, {name: state for name, state in states.items() if isinstance(state, PoolState)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assign", description=__doc__.partition("\n")[0])
    parser.add_argument("--kafka", action="store_true", help="from request to assignment, on real Kafka and Redis")
    parser.add_argument("--held", type=int, default=80_000, help="requests answered before, with --kafka")
    parser.add_argument("--rate", type=int, default=200, help="requests a second, with --kafka")
    parser.add_argument("--seconds", type=float, default=60.0, help="of them, with --kafka")
    options = parser.parse_args()
    if options.kafka:
        live(options.held, options.rate, options.seconds)
        return
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
