"""What lies outside the process, and chance, is reached through a `Clients` that was passed in; one module makes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from engine.runtime.clients import Consumer
from tests.structure.test_structure import ENGINE

CLIENTS = ENGINE / "runtime/clients.py"
SHOW = ENGINE / "demo"  # plays on real servers in real time; no simulation runs it
# By package: what makes a client, tells the time of day, or draws by chance. perf_counter measures, and nothing is
# decided by it.
OUTSIDE = {
    "aiokafka": {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient"},
    "redis": {"Redis", "StrictRedis", "RedisCluster", "from_url"},
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "random": {"random", "uniform", "randint", "randrange", "choice", "choices", "sample", "shuffle", "SystemRandom"},
    "uuid": {"uuid1", "uuid4"},
    "secrets": {"token_bytes", "token_hex", "token_urlsafe", "randbelow", "randbits", "choice"},
    "os": {"urandom"},
}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below but those of `if TYPE_CHECKING`, which make nothing."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from running(child)


def reached(source: str) -> Iterator[str]:
    """`line: dotted name` of everything outside that a module names."""
    nodes = list(running(ast.parse(source)))
    known: dict[str, str] = {}  # name in the module -> dotted name
    for node in nodes:
        if isinstance(node, ast.Import):
            roots = {alias.name.partition(".")[0] for alias in node.names if not alias.asname}
            known |= {root: root for root in roots} | {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            named = [f"{known[first]}.{rest}"] if first in known else []
        else:
            continue
        for dotted in named:
            parts = dotted.split(".")
            if parts[-1] in OUTSIDE.get(parts[0], ()):
                yield f"{node.lineno}: {dotted}"


def test_only_one_module_makes_clients_and_tells_the_time() -> None:
    files = [path for path in ENGINE.rglob("*.py") if path != CLIENTS and SHOW not in path.parents]
    found = [f"{path}:{what}" for path in files for what in reached(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(["take these from the Clients that is passed in:", *found])
    assert list(reached(CLIENTS.read_text(encoding="utf-8")))


def test_nothing_reads_offsets_of_a_group() -> None:
    """They are for monitors: a partition begins where its position says."""
    assert not hasattr(Consumer, "committed")  # nor can any module call it: mypy knows a consumer by this protocol
    reads = {"seek_to_committed", "list_consumer_group_offsets", "OffsetFetchRequest"}
    calls = [
        f"{path}:{node.lineno}: {ast.unparse(node.func)}"
        for path in ENGINE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in reads
    ]
    assert not calls, "\n".join(calls)


@pytest.mark.parametrize(
    "source",
    [
        "from aiokafka import AIOKafkaConsumer",
        "from aiokafka.producer import AIOKafkaProducer as Producer",
        "import aiokafka\naiokafka.AIOKafkaProducer()",
        "from aiokafka import admin\nadmin.AIOKafkaAdminClient()",
        "from redis.asyncio import Redis",
        "import redis.asyncio as r\nr.from_url('')",
        "import time\ndef f():\n    return time.time()",
        "import time as t\nt.monotonic()",
        "from time import time_ns",
        "import datetime as dt\ndt.datetime.now()",
        "from datetime import date\ndate.today()",
        "import random\nrandom.random()",
        "from random import uniform",
        "from uuid import uuid4",
        "import os\nos.urandom(8)",
    ],
)
def test_each_way_is_seen(source: str) -> None:
    assert list(reached(source))


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from redis.asyncio import Redis",
        "import time\ntime.perf_counter_ns()",
        "import asyncio\nasyncio.get_running_loop().time()",
        "import datetime as dt\ndt.datetime.fromtimestamp(0, dt.UTC)",
        "from random import Random\nRandom(7)",
    ],
)
def test_what_makes_nothing_is_allowed(source: str) -> None:
    assert not list(reached(source))
