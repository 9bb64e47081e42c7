"""What processes of a load do: read parts, decide buckets.

Enters: parts, numbers of buckets. Leaves: what split and decide_bucket return. Holds: nothing here knows of Kafka or
Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.core.plan.compile import Plan, compile_rule_set
from engine.loading.deciding import Decided, Past, decide_bucket
from engine.loading.sources import Part, split
from engine.loading.spill import Index, Pieces, rows_of
from engine.runtime.rule_sets.archive import load_files

_plans: dict[str, Plan] = {}  # of this process, by digest of the rule set: there is one


def read_part(number: int, part: Part, directory: Path, partitions: int, each: int) -> Index:
    """Keeps what is there whole already."""
    return Index.read(directory, number) or split(number, part, directory, partitions, each)


def decide_one(rules: tuple[str, Mapping[str, str]], past: Past, directory: Path, pieces: Pieces) -> Decided:
    """`rules`: digest and files."""
    digest, files = rules
    if digest not in _plans:
        _plans.clear()
        _plans[digest] = compile_rule_set(load_files(files, "the active rules"))
    return decide_bucket(_plans[digest], past, rows_of(directory, pieces))
