"""Three workers are restarted one after another under load: what moves, for how long it pauses, and all adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation
from tests.kafka.rolling import Rolled, roll
from tests.services.redis import RedisServer

HANGS_S = 60.0  # no partition pauses for so long on any machine; a busy one takes several seconds


def assert_smooth(rolled: Rolled) -> None:
    print(rolled)
    assert max(rolled.moves.values()) <= 2
    assert min(rolled.moves.values()) >= 1  # no worker is still the one that it was
    assert rolled.pauses_s[0] < HANGS_S
    assert rolled.audit.findings == []
    assert (rolled.audit.lost, rolled.audit.doubled) == (0, 0)


@pytest.fixture
def engine(install: MakeInstallation, tmp_path: Path) -> Iterator[Callable[[int], Installation]]:
    """Of so many partitions, on a Redis of its own: what else is in it would be the auditor's to find."""
    with RedisServer(tmp_path / "redis") as store:
        yield lambda partitions: install(redis_url=store.url, session_timeout_s=30, clock="wall").create_topics(
            partitions
        )


@pytest.mark.short
def test_each_stops_and_starts(engine: Callable[[int], Installation]) -> None:
    assert_smooth(roll(engine(13), 40.0))


def test_each_successor_starts_first(engine: Callable[[int], Installation]) -> None:
    assert_smooth(roll(engine(12), 40.0, surge=True))
