"""Runs seeds: one, many, and a failing one again with less and less until nothing more can be left out.

Enters: seeds, and the name of a deliberate bug when one is to be switched on. Leaves: failures with their traces.
Holds: a run is a function of its seed and of which inputs and faults are kept.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any, Final

from engine.processors.engagement import ENGAGEMENT
from engine.runtime.protocol.processor import Processor
from tests.simulation.auditor import audit
from tests.simulation.bugs import switched_on
from tests.simulation.faults import play
from tests.simulation.loop import Stalled
from tests.simulation.rule_texts import GOOD
from tests.simulation.scenario import DRAIN_S, Scenario, generate
from tests.simulation.world import World, compiled_once

MAX_STEPS: Final = 150_000  # of the event loop; a run takes some 3,000
SEEDS_OF_BUG: Final = 1_000  # one of them has to catch each deliberate bug
MAX_TRACE: Final = 400  # lines shown


@dataclass(slots=True)
class Result:
    seed: int
    violations: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # what went wrong with servers and processes, as meant
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    items: int = 0


def run(seed: int, bug: str = "", keep: Iterable[int] | None = None, trace: bool = False) -> Result:
    """One run. `keep`: numbers of the items (faults first, then inputs) to leave in; None: all."""
    random = Random(seed)
    scenario = generate(random, seed)
    if keep is not None:
        kept, faults = set(keep), len(scenario.faults)
        scenario.inputs = [item for number, item in enumerate(scenario.inputs, start=faults) if number in kept]
        scenario.faults = [item for number, item in enumerate(scenario.faults) if number in kept]
    return run_scenario(scenario, random, bug, trace)


def run_scenario(
    scenario: Scenario,
    random: Random,
    bug: str = "",
    trace: bool = False,
    processor: Processor[Any, Any, Any] = ENGAGEMENT,
    judge: Callable[[World], list[str]] = audit,
    rules: Sequence[dict[str, str]] = GOOD,
    further: Sequence[Processor[Any, Any, Any]] = (),
) -> Result:
    world = World(scenario, random, processor, rules, further)
    if trace:
        world.network.trace = []
    violations = world.violations
    collecting = gc.isenabled()
    gc.disable()  # what is collected when must not matter, nor take time
    try:
        with switched_on(bug), compiled_once(world):
            try:
                world.loop.run(play(world, judge), scenario.end_s + 4 * DRAIN_S, MAX_STEPS)
            except Stalled as error:
                violations.append(f"stalled: {error}")
            finally:
                world.loop.clear(world.processes)
    finally:
        if collecting:
            gc.enable()
    if world.refusals:
        violations.append(f"refused without cause: {world.refusals[0]}")
    items = len(scenario.inputs) + len(scenario.faults)
    return Result(scenario.seed, violations, world.network.seen, world.network.trace or [], items)


# -- many ------------------------------------------------------------------------------------------


def _chunk(bug: str, seeds: Sequence[int]) -> list[Result]:
    results = []
    for seed in seeds:
        try:
            results.append(run(seed, bug))
        except Exception:
            results.append(Result(seed, ["the simulation itself failed:\n" + traceback.format_exc()]))
    return results


def first_seed(bug: str) -> int | None:
    """The first from 0 that fails with the bug; None if none does."""
    return next((seed for seed in range(SEEDS_OF_BUG) if run(seed, bug).violations), None)


def run_many(seeds: Sequence[int], bug: str = "", processes: int | None = None) -> Iterator[Result]:
    """Each seed's result, in order, from as many processes as there are cores."""
    chunks = [seeds[begin : begin + 20] for begin in range(0, len(seeds), 20)]
    # spawned, not forked: a test's process has threads
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
        try:
            for results in pool.map(partial(_chunk, bug), chunks):
                yield from results
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# -- a failure ---------------------------------------------------------------------------------------


def shrink(seed: int, bug: str = "", seconds: float = 60.0) -> list[int]:
    """The items that are needed for this seed to fail."""
    keep = list(range(run(seed, bug).items))
    size = max(len(keep) // 2, 1)
    until = time.monotonic() + seconds
    while size:
        begin = 0
        while begin < len(keep) and time.monotonic() < until:
            less = keep[:begin] + keep[begin + size :]
            if run(seed, bug, less).violations:
                keep = less
            else:
                begin += size
        size //= 2
    return keep


def report(seed: int, bug: str = "", keep: list[int] | None = None, say: Callable[[str], None] = print) -> None:
    """A failing seed: the shortest trace that shows it, what is wrong, and how to run it again."""
    keep = shrink(seed, bug) if keep is None else keep
    result = run(seed, bug, keep, trace=True)
    well_s = next((at_s for at_s, _, text in result.trace if "all is well" in text), 0.0)
    shown = [line for line in result.trace if line[0] < well_s + 8]  # one that hangs does nothing of interest later
    if len(shown) > MAX_TRACE:
        say(f"({len(shown) - MAX_TRACE} lines before)")
    for at_s, who, text in shown[-MAX_TRACE:]:
        say(f"{at_s:9.4f} {who:6} {text[:240]}")
    if not result.violations:
        say(f"\nseed {seed} does not fail with this")
        return
    say(f"\nseed {seed} fails, with {result.items} inputs and faults:")
    for violation in result.violations[:8]:
        say(f"  {violation}")
    again = f"python -m tests.simulation --start {seed} --seeds 1" + (f" --bug '{bug}'" if bug else "")
    say(f"again: {again}\nonly what is needed: {again} --keep {','.join(map(str, keep))}")
