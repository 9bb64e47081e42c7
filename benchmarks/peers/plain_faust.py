"""The same job as one would write it with Faust alone: an agent, a table, one event at a time.

Enters: Kafka's address, a prefix for topics, a rules directory, numbers of portraits and trades, Faust's guarantee.
Leaves: the same actions on Kafka; one JSON line when the portraits are in, one with its own measurement at the end.
Holds: decode and decide are the engine's own, so that the difference is all in how events, states and actions travel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import faust

from benchmarks.process import peak_mb
from engine.core.client.sections import pack, unpack
from engine.core.contract.outbound import OUTBOUND
from engine.core.decide.path import decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Rejected, decode
from engine.runtime.rule_sets.archive import load_directory

COMMIT_S = 4.0  # longer than Faust's commit interval


class Clock:
    """CPU and time over the trades alone."""

    def __init__(self, portraits: int, trades: int) -> None:
        self._left = {"portraits": portraits, "trades": trades}
        self._trades = trades
        self._cpu_s = self._began = 0.0
        self.measured: dict[str, float] | None = None

    def before(self, topic: str) -> None:
        if topic == "trades" and self._left["trades"] == self._trades:
            self._cpu_s, self._began = time.process_time(), time.monotonic()

    def after(self, topic: str) -> None:
        what = "trades" if topic == "trades" else "portraits"
        self._left[what] -= 1
        if self._left[what]:
            return
        if what == "portraits":
            _say({"start_cpu_s": time.process_time()})
            return
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._began
        self.measured = {"cpu_s": cpu_s, "wall_s": wall_s}


def make_app(kafka: str, prefix: str, plan: Plan, clock: Clock, guarantee: str) -> faust.App:
    app = faust.App(
        f"{prefix}app",
        broker=f"kafka://{kafka}",
        store="memory://",
        processing_guarantee=guarantee,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_replication_factor=1,
        topic_partitions=4,
        datadir=tempfile.mkdtemp(prefix="engage-plain-faust-"),
    )
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
    inbound = app.topic(*(prefix + topic for topic in ("profiles", "balances", "trades")), **raw)
    outbound = {topic: app.topic(prefix + topic, **raw) for topic in OUTBOUND}
    # A table's values must be serialisable: the packed state, as in Redis
    table = app.Table("states", partitions=4, **raw)

    async def one(event: Any) -> None:
        message = event.message
        topic = message.topic.removeprefix(prefix)
        clock.before(topic)
        decoded = decode(topic, event.key, event.value, int(message.timestamp * 1000))
        if isinstance(decoded, Rejected):
            raise ValueError(decoded.error)
        happened = decoded.event
        packed = table.get(event.key)
        states = {} if packed is None else {happened.client_id: unpack(plan.layout, packed)}
        decided = decide(plan, states, [(topic, happened)])
        table[event.key] = pack(plan.layout, states[happened.client_id])
        for action in decided.messages:
            await outbound[action.topic].send(key=action.key, value=action.value, headers=dict(action.headers))
        clock.after(topic)

    @app.agent(inbound)
    async def engage(stream: Any) -> None:
        async for event in stream.events():
            try:
                await one(event)
            except Exception:  # Faust would start the agent again, and again
                traceback.print_exc()
                os._exit(1)

    @app.task
    async def end() -> None:
        while clock.measured is None:
            await asyncio.sleep(0.2)
        await asyncio.sleep(COMMIT_S)
        _say({**clock.measured, "peak_mb": peak_mb(os.getpid())})

    return app


def _say(values: dict[str, float]) -> None:
    print(f"\n{json.dumps(values)}", flush=True)  # on a line of its own: Faust's spinner leaves one begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rules", required=True, type=Path)
    parser.add_argument("--portraits", required=True, type=int)
    parser.add_argument("--trades", required=True, type=int)
    parser.add_argument("--guarantee", required=True)
    given = parser.parse_args()
    clock = Clock(given.portraits, given.trades)
    plan = compile_rule_set(load_directory(given.rules))
    app = make_app(given.kafka, given.prefix, plan, clock, given.guarantee)
    faust.Worker(app, loglevel="warning", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
