"""What the benchmark of requests for advisors declares, and that its requests are such."""

from __future__ import annotations

from pathlib import Path
from random import Random

from benchmarks import assign
from benchmarks.assign_live import ADVISORS, POOLS, request, write_rules
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.reading.decode import Taken
from engine.processors.assignment import ASSIGNMENT
from engine.runtime.rule_sets.archive import load_directory


def test_rules_and_requests_are_what_an_engine_takes(tmp_path: Path) -> None:
    rule_set = load_directory(write_rules(tmp_path / "rules"))
    assert rule_set.assignment is not None
    named = {pool.name for pool in rule_set.assignment.pools}
    assert (len(named), len(rule_set.advisors)) == (POOLS, ADVISORS)
    of, random = assign.plan(), Random(1)
    for number in range(100):
        key, value = request(random, f"r{number}", assign.BEGIN_MS)
        taken = ASSIGNMENT.decoder(of)(ASSIGNMENT_REQUESTS.name, key, value, assign.BEGIN_MS)
        assert isinstance(taken, Taken)
        assert taken.event.client_id in named
