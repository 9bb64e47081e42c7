"""What the engine makes of aiokafka's failures, without a broker."""

from __future__ import annotations

import ast
import asyncio
import gc
import logging

import pytest
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import ProducerFenced

from engine.runtime.clients import Clients
from engine.runtime.errors import Unavailable
from engine.runtime.kafka.connection import errors, tell_later
from engine.runtime.kafka.membership import MOST_FAILURES, Membership
from engine.runtime.settings import Settings


@pytest.fixture
async def handled() -> None:
    asyncio.get_running_loop().set_exception_handler(tell_later)


class Cycle:
    """Garbage that only a collection finds, with a failed future in it that nobody asked."""

    def __init__(self, error: Exception) -> None:
        self.itself = self
        self.future = asyncio.get_running_loop().create_future()
        self.future.set_exception(error)


async def test_a_forgotten_failure_is_told_after_the_collection_that_found_it(handled, caplog):
    Cycle(ValueError("forgotten"))
    gc.collect()
    assert caplog.records == []
    await asyncio.sleep(0)
    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    assert "never retrieved" in told.getMessage()
    assert told.exc_info
    assert str(told.exc_info[1]) == "forgotten"


@pytest.mark.parametrize("error", [ProducerFenced(), ConnectionResetError()])
async def test_what_a_client_inside_leaves_behind_is_not_told(handled, caplog, error):
    Cycle(error)
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_a_collection_in_the_middle_of_parsing_does_no_harm(handled):
    """`python -m tests.faults --rounds 200 --seed 2026`, round 22: a worker that read changed rules ended with
    SystemError: AST constructor recursion depth mismatch.
    """

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError

    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    try:
        for number in range(300):
            try:
                deep(number % 60)
            except ValueError as error:
                Cycle(error)
            ast.parse("a + b * (c - d) and e in (1, 2, 3) and f(x, y) >= 3", mode="eval")
    finally:
        gc.set_threshold(*before)


async def test_whatever_ends_a_members_part_in_the_group_is_a_poll_that_failed():
    class Broken:
        async def getmany(self, timeout_ms: int) -> None:
            raise AssertionError("as aiokafka's heartbeat does")

    member = Membership(Settings(), Clients(), lambda partitions: None)
    member._consumer = Broken()
    for failures in range(MOST_FAILURES):
        assert member._failures == failures
        with pytest.raises(Unavailable, match="heartbeat"):
            await member.poll()
    assert member._failures == MOST_FAILURES


async def test_a_broker_that_names_none_is_away() -> None:
    """aiokafka asserts that it knows one; whatever else is asserted is a fault."""
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    try:
        with pytest.raises(Unavailable, match="names no broker"), errors():
            await client.coordinator_lookup(CoordinationType.TRANSACTION, "t")
        with pytest.raises(AssertionError), errors():
            raise AssertionError
    finally:
        await client.close()
