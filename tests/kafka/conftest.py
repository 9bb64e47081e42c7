"""Installations on the run's broker and store, and a broker's trades with what they must lead to."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.demo import simulator
from engine.operations.record_file import parse_line
from tests.kafka.installation import RULES, Installation, Sent, by_client
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

# Fixed and past: the same bytes in every run, and no event lies in its record's future.
END = "2025-11-01T00:00:00Z"

MakeInstallation = Callable[..., Installation]


@pytest.fixture
def install(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeInstallation]:
    """Makes installations: on the run's broker and store, unless others are given. Keywords are settings."""
    made: list[Installation] = []

    def make(kafka: str | None = None, redis_url: str | None = None, **given: object) -> Installation:
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:50]
        directory = tmp_path / str(len(made))
        directory.mkdir()
        broker: KafkaBroker | None = None if kafka else request.getfixturevalue("kafka_broker")
        store: RedisServer | None = None if redis_url else request.getfixturevalue("redis_server")
        installation = Installation(
            f"{name}-{len(made)}",
            kafka or (broker.bootstrap if broker else ""),
            redis_url or (store.url if store else ""),
            directory,
            **given,
        )
        made.append(installation)
        return installation

    yield make
    for installation in made:
        installation.end()


@pytest.fixture
def engine(install: MakeInstallation) -> Installation:
    """An installation with its topics created, 4 partitions."""
    return install().create_topics()


@dataclass(frozen=True)
class Offline:
    """Records, and what the offline replay of their file leads to."""

    records: tuple[Sent, ...]
    actions: dict[tuple[str, str], list[str]]
    states: str  # as `engage states` prints them


@pytest.fixture(scope="session")
def trades(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """10,000 trades of some 1,000 clients, and what `engage replay` says of them."""
    directory = tmp_path_factory.mktemp("trades")
    lines = simulated(topics=["trades"], clients=1_200, days=25, count=10_000)
    file = directory / "trades.ndjson"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    done = Installation("offline", "127.0.0.1:1", "redis://127.0.0.1:1/0", directory).engage(
        "replay", str(file), "--rules", str(RULES)
    )
    assert done.returncode == 0, done.stderr
    summary = dict(line.split(" ", 1) for line in done.stderr.splitlines())
    assert summary["events"] == "10000"
    assert summary["rejected"] == "0"
    return Offline(
        tuple(as_sent(line) for line in lines),
        by_client(action_of(line) for line in done.stdout.splitlines()),
        f"clients {summary['clients']}\nstates {summary['states']}\n",
    )


@pytest.fixture
def ran(install: MakeInstallation, trades: Offline) -> Installation:
    """An engine that has decided 400 trades on 2 partitions and was stopped."""
    engine = install().create_topics(2)
    engine.produce(trades.records[:400])
    worker = engine.worker().wait_ready()
    engine.settle()
    worker.stop()
    assert all(position["ledger"] > 0 for position in engine.positions())
    return engine


def simulated(**arguments: object) -> list[bytes]:
    out = io.BytesIO()
    simulator.write(out, seed=7, end=END, **arguments)  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def as_sent(line: bytes) -> Sent:
    topic, key, _, value = parse_line(line.decode())
    return Sent(topic, key, value)


_ACTION = re.compile(r'\{"topic":"([^"]+)","key":"([^"]+)","value":(.*)\}')


def action_of(line: str) -> tuple[str, str, str]:
    """A line of `engage replay`: topic, client, value as published, byte for byte."""
    match = _ACTION.fullmatch(line)
    assert match is not None, line
    return match[1], match[2], match[3]
