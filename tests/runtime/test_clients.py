"""The one place that makes clients: what the engine asks of them is there, in the real ones and in the simulated."""

from __future__ import annotations

import dataclasses
import inspect
import threading
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from engine.runtime.clients import Admin, Clients, Consumer, Producer, redis_client
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings
from tests.simulation.broker import SimAdmin
from tests.simulation.consumer import SimConsumer
from tests.simulation.producer import SimProducer

BY_COMMANDS = {"transaction", "create_topics", "delete_records"}  # that no simulation runs


def methods(protocol: Any) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(found)
        for name, found in vars(protocol).items()
        if inspect.isfunction(found) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("protocol", "made", "left_out"),
    [
        (Consumer, AIOKafkaConsumer, ()),
        (Producer, AIOKafkaProducer, ()),
        (Admin, AIOKafkaAdminClient, ()),
        (Consumer, SimConsumer, BY_COMMANDS),
        (Producer, SimProducer, BY_COMMANDS),
        (Admin, SimAdmin, BY_COMMANDS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_method_is_there_and_takes_what_the_engine_gives(protocol: Any, made: Any, left_out: Any) -> None:
    asked = {name: signature for name, signature in methods(protocol).items() if name not in left_out}
    assert asked
    for name, signature in asked.items():
        given = inspect.signature(getattr(made, name))
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
        by_name = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty}
        given.bind(*(p for p in parameters if p.name not in by_name), **dict.fromkeys(by_name))


def test_the_real_ones_are_the_default() -> None:
    clients = Clients()
    assert clients.consumer is AIOKafkaConsumer
    assert clients.producer is AIOKafkaProducer
    assert clients.admin is AIOKafkaAdminClient
    assert abs(clients.wall_ms() - time.time() * 1000) < 60_000
    assert len({clients.chance() for _ in range(10)}) > 1
    assert 0 <= clients.chance() < 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        clients.wall_ms = lambda: 0  # type: ignore[misc]


def test_a_thread_runs_beside_all_else() -> None:
    ran: list[str] = []
    done = threading.Event()

    def function() -> None:
        ran.append(threading.current_thread().name)
        done.set()

    Clients().thread(function, "a name")
    assert done.wait(30)
    assert ran == ["a name"]


@pytest.mark.parametrize(
    ("option", "mode"),
    [
        ("socket_timeout=secret", "standalone"),
        ("max_connections=secret", "cluster"),
        ("max_connections=secret", "sentinel"),
    ],
)
def test_an_option_of_redis_that_cannot_be_is_refused_without_its_password(option: str, mode: str) -> None:
    with pytest.raises(Refused, match="redis://USER:PASSWORD@HOST") as error:
        redis_client(Settings(redis=f"redis://u:secret@h/0?{option}", redis_mode=mode, redis_service="s"))
    assert "secret" not in str(error.value)
