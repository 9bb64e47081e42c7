"""Release 0.1.0, started again over what this version wrote: it says that it cannot read it, and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import msgpack

from engine.runtime.protocol.position import Position
from tests.fixtures.checkout import CHECKOUT, recorded_archive
from tests.fixtures.loading import WHEEL, golden
from tests.runtime.driving import Bench, all_batches
from tests.runtime.test_recorded_ledger import inbound_of, left_by_0_1
from tests.services.process import REPOSITORY

NUMBER = 0
NO_POSITION = "Refused: what Redis holds as a partition's position is none (b'{\"ledger\":"
NO_UNIT = "Refused: the ledger was written in format 3, this engine reads format 2"


def found(bench: Bench) -> tuple[bytes | None, list[list[Any]], list[bytes | None]]:
    """What Redis and the ledger hold."""
    rows = [[w.key, w.due_ms if w.due_ms < 1 << 60 else -1, w.state] for w in bench.data.rows().values()]
    return bench.data.position, rows, list(bench.ledger.records)


async def cases() -> dict[str, Any]:
    bench = left_by_0_1(NUMBER)
    before = found(bench)
    worker = await bench.started()
    recovered = found(bench)
    for batch in all_batches(inbound_of(NUMBER), 20, worker.offsets)[:3]:
        await worker.take(batch)
        await worker.commit("age")
    after = found(bench)
    behind = (before[0], before[1], after[2])
    return {
        "only recovered": {"found": recovered, "later": None},
        "written": {"found": after, "later": None},
        "redis lost it": {"found": behind, "later": None},
        "taken over from it": {"found": before, "later": after},
    }


def released(*arguments: str, given: bytes = b"") -> Any:
    """What a program says on its last line, run with the modules of the release."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{WHEEL}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments], input=given, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode().splitlines()[-1])


@cache
def outcomes(packed: bytes) -> dict[str, Any]:
    """What the release does in each case."""
    parsed: dict[str, Any] = released("-m", "tests.fixtures.released_partition", given=packed)
    return parsed


async def outcome(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    tried = await cases()
    return tried[name], outcomes(msgpack.packb(tried))[name]


async def test_where_this_version_has_written_nothing_it_goes_on():
    case, done = await outcome("only recovered")
    assert done["said"] == {"start": ""}
    assert done["position"] == case["found"][0].decode()
    assert (done["applied"], done["published"]) == (0, 0)


async def test_it_does_not_read_a_position_of_this_version():
    case, done = await outcome("written")
    assert done["said"]["start"].startswith(NO_POSITION)
    assert done["position"] == case["found"][0].decode()
    assert (done["applied"], done["published"]) == (0, 0)


async def test_it_does_not_apply_a_unit_of_this_version():
    """A Redis that lost its last writes has a position of 0.1.0: up to the units of this version it goes on from it."""
    case, done = await outcome("redis lost it")
    assert done["said"]["start"].startswith(NO_UNIT)
    assert done["published"] == 0
    position, _, ledger = case["found"]
    reached = Position.read(done["position"].encode())
    assert reached.ledger >= Position.read(position).ledger
    bench = Bench(left_by_0_1(NUMBER)._plan)
    bench.ledger.records = ledger
    await bench.started()
    assert any(reached.text == text for text, _ in bench.data.applied)  # as this version would have brought it there


async def test_one_that_was_taken_over_from_notices_and_writes_nothing():
    case, done = await outcome("taken over from it")
    assert done["said"]["tick"].startswith("Surprised: Redis moved under this worker")
    assert done["said"]["start again"].startswith(NO_POSITION)
    assert done["position"] == case["later"][0].decode()
    assert (done["applied"], done["published"]) == (0, 0)


# Reads the records of the rule-set topic that 0.2 wrote.
ARCHIVE = """
import json, sys
from engine.runtime.rule_set_archive import RuleSetArchive
from engine.runtime.settings import load
archive = RuleSetArchive(load())
for key, value in json.load(sys.stdin):
    archive.add(bytes.fromhex(key), bytes.fromhex(value))
print(json.dumps([[entry.number for entry in archive.history], archive.head]))
"""


def test_it_reads_the_history_of_rule_sets():
    """So its `publish` and `revert` number what they add after the last entry, and write over none: up to the first
    pause, which nobody may make before the last older engine is gone.
    """
    rows = [(pair.name.encode().hex(), pair.data.hex()) for pair in golden("rule-set", CHECKOUT)]
    numbers, head = released("-c", ARCHIVE, given=json.dumps(rows).encode())
    assert numbers == [entry.number for entry in recorded_archive().history if entry.action != "pause"]
    assert len(numbers) > 5
    assert head == recorded_archive().head
