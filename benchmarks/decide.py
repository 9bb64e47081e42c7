"""`python -m benchmarks.decide`: CPU microseconds of each pure step, without Kafka or Redis.

Enters: nothing. Leaves: microseconds an event for decode and decide (by number of rules), a state for pack and unpack.
Holds: process CPU time, the best of three; clients have their portraits and a day of trades, as in `make bench`.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.day.job import Job, write_rules
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide.path import Input, decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Rejected, decode
from engine.runtime.rule_sets.archive import load_directory

CLIENTS = 4_000
TRADES = 60_000
RUNS = 3
BATCH = 2_000
RULES = (10, 100, 1000)


def _plan(directory: Path, rules: int) -> Plan:
    return compile_rule_set(load_directory(write_rules(directory / str(rules), rules)))


def best_us(prepare: Callable[[], Any], work: Callable[[Any], Any], times: int) -> float:
    best = float("inf")
    for _ in range(RUNS):
        given = prepare()
        began = time.process_time()
        work(given)
        best = min(best, time.process_time() - began)
    return best / times * 1_000_000


def decide_all(plan: Plan, states: dict[str, ClientState], events: list[Input]) -> int:
    actions = 0
    for begin in range(0, len(events), BATCH):
        actions += len(decide(plan, states, events[begin : begin + BATCH]).messages)
    return actions


def main() -> None:
    job = Job(CLIENTS)
    records = [list(job.portraits()), list(job.trades(TRADES))]

    def events(part: int) -> list[Input]:
        found: list[Input] = []
        for record in records[part]:
            taken = decode(record.topic, record.key, record.value, record.time_ms)
            assert not isinstance(taken, Rejected)
            found.append((record.topic, taken.event))
        return found

    portraits, trades = events(0), events(1)
    gc.collect()
    gc.freeze()  # as a worker does
    gc.set_threshold(100_000, 20, 100)
    print(f"{'decode':<24}{best_us(lambda: None, lambda _: events(1), TRADES):8.2f} us an event")
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as directory:
        for rules in RULES:
            plan = _plan(Path(directory), rules)

            def known(plan: Plan = plan) -> dict[str, ClientState]:
                states: dict[str, ClientState] = {}
                decide(plan, states, portraits)
                return states

            def work(states: dict[str, ClientState], plan: Plan = plan) -> int:
                return decide_all(plan, states, trades)

            print(f"{f'decide, {rules} rules':<24}{best_us(known, work, TRADES):8.2f} us an event", flush=True)
        plan = _plan(Path(directory), 100)
    states: dict[str, ClientState] = {}
    decide_all(plan, states, portraits + trades)
    packed = [pack(plan.layout, client) for client in states.values()]

    def fresh() -> list[ClientState]:
        clients = [unpack(plan.layout, state) for state in packed]
        decide(plan, {client.client_id: client for client in clients}, trades[:TRADES])
        return clients

    def repack(clients: list[ClientState]) -> None:
        for client in clients:
            pack(plan.layout, client)

    print(f"{'pack, after a trade':<24}{best_us(fresh, repack, len(packed)):8.2f} us a state")
    unpack_us = best_us(lambda: None, lambda _: [unpack(plan.layout, state) for state in packed], len(packed))
    print(f"{'unpack':<24}{unpack_us:8.2f} us a state")
    print(f"{'size':<24}{sum(map(len, packed)) / len(packed):8.0f} bytes a state")


if __name__ == "__main__":
    main()
