"""A past is loaded through deaths; then workers go on, and nothing of the past is sent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.core.contract.message import rfc3339
from engine.core.decide.timeline import Timeline
from engine.core.plan.compile import compile_rule_set
from engine.core.reading.decode import Taken, decode
from engine.operations.replay import Replayed, read_file, replay_records, states_hash
from engine.runtime.rule_sets.archive import load_directory
from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import RULES, Installation, Sent, by_client
from tests.kafka.test_same_answers import DYING_WORKER, DYING_WORKER_STATUS
from tests.kafka.worker_process import HUNG_S, eventually
from tests.loading.past import as_loaded, packed
from tests.services.redis import RedisServer

CUT = 7_000  # of the trades, those before are the past


def time_of(sent: Sent) -> int:
    found: int = json.loads(sent.value or b"")["time"]
    return found


@pytest.fixture(scope="session")
def past(trades: Offline, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of the past, last first; and where it ends."""
    until_ms = time_of(trades.records[CUT])
    file = tmp_path_factory.mktemp("past") / "past.ndjson"
    records = [sent for sent in trades.records if time_of(sent) < until_ms]
    lines = [b'{"topic":"trades","key":"%s","value":%s}\n' % (r.key or b"", r.value or b"") for r in reversed(records)]
    file.write_bytes(b"".join(lines))
    return file, rfc3339(until_ms)


def load_command(past: tuple[Path, str], *more: str) -> list[str]:
    return ["load", str(past[0]), "--until", past[1], "--rules", str(RULES), "--jobs", "2", *more]


@pytest.fixture(scope="session")
def rest(trades: Offline, past: tuple[Path, str]) -> Offline:
    """The records after the past, and what they lead to once it has been loaded: decided offline, one after another."""
    plan, until_ms = compile_rule_set(load_directory(RULES)), time_of(trades.records[CUT])
    replayed = Replayed()
    with past[0].open("rb") as lines:
        by_time = sorted(read_file(lines, "past"), key=lambda record: json.loads(record.value or b"")["time"])
    list(replay_records(plan, by_time, replayed, until_ms))
    states = as_loaded(plan, replayed.states)
    timeline, messages = Timeline(plan, states), []
    for sent in trades.records[CUT:]:
        taken = decode(sent.topic, sent.key, sent.value, -1, plan.declared_types)
        assert isinstance(taken, Taken)
        messages += [m for decided in timeline.take(sent.topic, taken.event) for m in decided.messages]
    found = packed(plan, states)
    return Offline(
        trades.records[CUT:],
        by_client((m.topic, (m.key or b"").decode(), (m.value or b"").decode()) for m in messages),
        f"clients {len(found)}\nstates {states_hash(found.items())}\n",
    )


def test_what_is_decided_after_a_load_is_what_would_have_been(
    trades: Offline, past: tuple[Path, str], rest: Offline
) -> None:
    """The same actions as without a load, and other states only by what the past led to and did not send, or count."""
    later = {at: [v for v in values if _of_the_rest(v, past[1])] for at, values in trades.actions.items()}
    assert uncounted(rest.actions) == uncounted({at: values for at, values in later.items() if values})
    assert rest.states.split()[1] == trades.states.split()[1]
    assert rest.states != trades.states


def _of_the_rest(value: str, cut: str) -> bool:
    """Decided after the cut; and no reminder of an action from before it, which a load does not send."""
    record = json.loads(value)
    return bool(record["time"] >= cut and record.get("action_time", cut) >= cut)


def uncounted(actions: Mapping[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Without the refusals that decisions count, which can be of the past."""
    each = {at: [json.loads(value) for value in values] for at, values in actions.items()}
    return {at: [{k: v for k, v in one.items() if k != "folded"} for one in told] for at, told in each.items()}


def decides_the_rest(engine: Installation, rest: Offline, records: tuple[Sent, ...] | None = None) -> None:
    """A worker, until nothing is due any more."""
    engine.produce(rest.records if records is None else records)
    worker = engine.worker(rules=None).wait_ready()
    engine.settle()
    engine.comes_to(rest.states)
    worker.stop()
    assert engine.states() == rest.states
    assert engine.actions() == rest.actions


@pytest.mark.parametrize("moment", [pytest.param("before_apply", marks=pytest.mark.short), "after_apply"])
def test_a_past_is_loaded_through_deaths(
    install: MakeInstallation,
    trades: Offline,
    past: tuple[Path, str],
    rest: Offline,
    tmp_path: Path,
    moment: str,
) -> None:
    with RedisServer(tmp_path / "redis") as store:
        engine = install(redis_url=store.url).create_topics()
        for at in (2, 4, 3):  # among the marks at the beginning, and among states
            died = subprocess.run(
                [sys.executable, str(DYING_WORKER), *load_command(past)],
                env=engine._environment({"DIE_MOMENT": moment, "DIE_AT": at}),
                cwd=engine.directory,
                capture_output=True,
                timeout=HUNG_S,
            )
            assert died.returncode == DYING_WORKER_STATUS, died.stderr
            assert "a load is under way here" in engine.refusal()  # no worker decides meanwhile
        done = engine.engage(*load_command(past))
        assert done.returncode == 0, done.stderr
        assert "refused 0\n" in done.stdout
        again = engine.engage(*load_command(past))
        assert again.returncode == 0, again.stderr
        assert "has come to its end before" in again.stdout
        loaded = engine.states()
        replayed = engine.engage("replay", str(past[0]), "--rules", str(RULES), "--until", past[1])
        assert replayed.returncode == 0, replayed.stderr
        assert not engine.published()

        engine.redis().flushall()  # a Redis that lost everything
        rebuilt = engine.engage("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert engine.states() == loaded

        decides_the_rest(engine, rest, trades.records[CUT - 500 :])  # 500 of the past come again
        from_ledger = engine.engage("replay", "--from-ledger")
        assert from_ledger.returncode == 0, from_ledger.stderr
        assert "differences 0" in from_ledger.stderr
        assert rest.states.split()[-1] in from_ledger.stderr
        refused = engine.engage(*load_command(past, "--acted", "nothing"))
        assert refused.returncode == 1
        assert "another load" in refused.stderr


def test_a_load_killed_at_any_moment(engine: Installation, past: tuple[Path, str], rest: Offline) -> None:
    """kill -9 later and later, in reading, deciding and committing, until a run comes to its end."""
    killed = 0
    while True:  # a run may take long on a busy machine
        running = engine.start(*load_command(past), program=("-m", "engine.cli"))
        try:
            running.wait(0.5 * 1.1**killed)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.communicate()
            killed += 1
            continue
        out, err = running.communicate()
        assert running.returncode == 0, err
        assert "events 7000" in out or "come to its end before" in out
        break
    assert killed > 3
    decides_the_rest(engine, rest)


def test_the_past_is_what_the_topics_hold(
    engine: Installation, trades: Offline, past: tuple[Path, str], rest: Offline
) -> None:
    """On wrong partitions, too: what lies before the first record of later is not decided twice."""
    engine.produce(trades.records, partitioner="consistent_random")
    loaded = engine.engage("load", "--topics", *load_command(past)[2:])
    assert loaded.returncode == 0, loaded.stderr
    assert "refused 0\n" in loaded.stdout
    decides_the_rest(engine, rest, ())  # what was re-routed, too


def test_a_load_needs_an_installation_without_clients(ran: Installation, past: tuple[Path, str]) -> None:
    before = ran.states()
    refused = ran.engage(*load_command(past))
    assert refused.returncode == 1
    assert "clients already" in refused.stderr
    assert ran.states() == before
    ran.worker().wait_ready().stop()


def test_a_load_outlasts_an_outage(
    install: MakeInstallation, past: tuple[Path, str], rest: Offline, tmp_path: Path
) -> None:
    """Redis is gone while the load runs, and comes back with what it had."""
    with RedisServer(tmp_path / "redis") as store:
        engine = install(redis_url=store.url).create_topics()
        running = engine.start(*load_command(past), program=("-m", "engine.cli"))
        eventually(lambda: any(position.get("load") for position in engine.positions()), "the load has begun")
        store.pause()
        assert running.stderr is not None
        line = next(line for line in running.stderr if "redis is away" in line)
        assert "goes on when it is back" in line
        store.resume()
        out, err = running.communicate(timeout=HUNG_S)
        assert running.returncode == 0, err
        assert "events 7000" in out
        decides_the_rest(engine, rest)
