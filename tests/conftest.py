"""Marks all of tests/kafka as needing the real broker, and hands out one broker and one store for a whole run."""

from __future__ import annotations

import os

os.environ.setdefault("ENGAGE_CORE", "pure")  # unless told otherwise, before the engine is imported

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from engine.core.activity import activity
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

# A commit's tests say the same each time; `pytest --hypothesis-profile search` looks for new examples.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile("fixed")
pytest.register_assert_rewrite("tests.contract_log", "tests.contract_store")  # a failed assertion shows its values

KAFKA_TESTS = Path(__file__).with_name("kafka")


@pytest.fixture(autouse=True)
def _what_all_clients_share_stays_blank() -> Iterator[None]:
    yield
    assert (activity.BLANK_DICT, activity.BLANK_LIST) == ({}, [])


@pytest.fixture(autouse=True)
def _loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A logger that was used once keeps its configuration: the next test could not capture what it says."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **given: configure(**given | {"cache_logger_on_first_use": False})
    )
    yield
    structlog.reset_defaults()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for processes and servers more than they compute."""
    return min((os.cpu_count() or 1) + 1, 4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(KAFKA_TESTS):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker shared by the run: use topics of your own; a test that kills it starts its own."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A store shared by the run: use a key prefix of your own; a test that kills it starts its own."""
    with RedisServer() as server:
        yield server
