"""The last release hands over to this checkout under load: nothing is lost, nothing doubled, nothing else decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.conftest import MakeInstallation
from tests.kafka.upgrade import Upgrade
from tests.services.redis import RedisServer


@pytest.fixture
def upgrade(install: MakeInstallation, tmp_path: Path) -> Iterator[Upgrade]:
    """The release is at work, on a Redis of its own: what else is in it would be the auditor's to find."""
    with RedisServer(tmp_path / "redis") as store:
        upgrade = Upgrade(install(redis_url=store.url), store)
        try:
            upgrade.start()
            yield upgrade
        finally:
            if upgrade.load.running:
                upgrade.load.stop()


def assert_whole(upgrade: Upgrade) -> None:
    found = upgrade.end()
    assert found.findings == []
    assert (found.lost, found.doubled) == (0, 0)
    assert min(found.counted[name] for name in ("rerouted", "dead_letters", "actions", "units")) > 10


def test_take_over_after_stop(upgrade: Upgrade) -> None:
    upgrade.take_over()
    assert_whole(upgrade)


@pytest.mark.short
def test_take_over_of_a_redis_that_lost_its_last_writes(upgrade: Upgrade) -> None:
    upgrade.take_over_behind()
    assert_whole(upgrade)


def test_rolling_both_in_one_group(upgrade: Upgrade) -> None:
    upgrade.roll()
    assert_whole(upgrade)


def test_a_worker_of_the_release_that_comes_back_ends(upgrade: Upgrade) -> None:
    upgrade.come_back()
    assert_whole(upgrade)


def test_a_roll_back_is_refused_and_changes_nothing(upgrade: Upgrade) -> None:
    upgrade.roll_back()
    assert_whole(upgrade)
