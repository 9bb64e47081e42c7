"""The processes that read parts and decide buckets: one for each core.

Enters: parts, numbers of buckets. Leaves: what split and decide_bucket return.
Holds: a process ends with the one that started it, however that ended; it knows nothing of Kafka or Redis.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from engine.core.plan.compile import Plan, compile_rule_set
from engine.loading.deciding import Decided, Past, decide_bucket
from engine.loading.sources import Part, split
from engine.loading.spill import Index, Pieces, rows_of
from engine.runtime.errors import Refused
from engine.runtime.rule_sets.archive import load_files

_plans: dict[str, Plan] = {}  # of this process, by digest of the rule set: there is one


class Pool:
    """Runs functions in processes."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _end_with_parent)

    async def run(self, function: Any, *args: Any) -> Any:
        """Raises Refused when a process was ended from outside."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        except BrokenProcessPool as error:
            raise Refused(
                "a process of the load was ended from outside, as a system short of memory does: give fewer --jobs, "
                "and run the load again: it goes on where it stands"
            ) from error

    def stop(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_part(number: int, part: Part, directory: Path, partitions: int, each: int) -> Index:
    """In a process of the pool. Keeps what is there whole already."""
    return Index.read(directory, number) or split(number, part, directory, partitions, each)


def decide_one(rules: tuple[str, Mapping[str, str]], past: Past, directory: Path, pieces: Pieces) -> Decided:
    """In a process of the pool. `rules`: digest and files."""
    digest, files = rules
    if digest not in _plans:
        _plans.clear()
        _plans[digest] = compile_rule_set(load_files(files, "the active rules"))
    return decide_bucket(_plans[digest], past, rows_of(directory, pieces))
