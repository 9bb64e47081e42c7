"""The way of an event, from the records that were fetched to the commit, is short enough to be read in a morning."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import CodeType, FrameType

import engine
from engine.core.plan.compile import compile_rule_set
from engine.runtime.rule_sets.archive import load_directory
from tests.core.making import at, balance, login, profile, trade
from tests.runtime.driving import Bench, all_batches, topics_of

ENGINE = Path(engine.__file__).parent
# Read whole: what brings records to the partition, and the log and the store behind it.
RIM = ("kafka/intake.py", "kafka/log.py", "redis/store.py", "worker/delivery.py", "worker/serving.py")


async def test_the_way_of_an_event_has_fewer_than_3000_lines():
    bench = Bench(compile_rule_set(load_directory(ENGINE.parent / "rules")))
    worker = await bench.started()
    history = [profile(at(0)), balance(at(0), 2_000_000), login(at(1)), trade(at(2), 90_000_000)]
    seen: set[CodeType] = set()

    def entered(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(entered)
    try:
        for batch in all_batches(topics_of(history), 1):
            await worker.take(batch, at(3))
        await worker.commit("age")
    finally:
        sys.setprofile(None)
    assert bench.ledger.messages
    rim = sum(len((ENGINE / "runtime" / file).read_text().splitlines()) for file in RIM)
    ours = {code for code in seen if Path(code.co_filename).is_relative_to(ENGINE)}
    lines = {
        (code.co_filename, line)
        for code in ours
        if not code.co_name.startswith("<")
        for source, first in [inspect.getsourcelines(code)]
        for line in range(first, first + len(source))
    }
    assert len(lines) > 500  # the trace saw the way
    assert rim + len(lines) < 3_000, (rim, len(lines))
