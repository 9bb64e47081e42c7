"""Warnings that come again and again: a line when they begin, one a minute with counts, one when they are over."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from engine.runtime import logs
from engine.runtime.folding import MOST_KINDS, Folding
from engine.runtime.settings import load


class Log:
    """What a process writes, over seconds that pass as they are counted."""

    def __init__(self) -> None:
        logs.configure(load())
        handler = next(h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler)
        handler.setStream(written := io.StringIO())
        self.now = 0.0
        self.written = written
        self.folding = Folding(handler, lambda: self.now)
        handler.addFilter(self.folding)
        self.engine = structlog.get_logger("engine.runtime.worker.runner")

    def passes(self, seconds: int, each: Callable[[int], None] = lambda second: None) -> list[dict[str, Any]]:
        for second in range(seconds):
            each(second)
            self.now += 1
            self.folding.say()
        written = self.written.getvalue().splitlines()
        self.written.truncate(self.written.seek(0))
        return [json.loads(line) for line in written]


@pytest.fixture
def log() -> Log:
    return Log()


def surprised(log: Log, second: int) -> None:
    for partition in range(12):
        log.engine.warning("surprised, starting again", partition=partition, error=f"Redis stands at {second}")


def fenced(log: Log, second: int) -> None:
    log.engine.warning("fenced: another worker has this partition", partition=second % 7, error="epoch")


def refused(log: Log, second: int) -> None:
    log.engine.error("rule set refused, the last good one stays active", digest="ab12", reason="rules.yaml:3:1: no")


def library(log: Log, second: int) -> None:
    logging.getLogger("some.library").warning("connection %s to %s lost", second, hex(id(log)))


def unasked(log: Log, second: int) -> None:
    try:
        raise ValueError(second)
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")


@pytest.mark.parametrize("warning", [surprised, fenced, refused, library, unasked])
def test_what_comes_every_second_is_a_line_a_minute(log: Log, warning: Callable[[Log, int], None]) -> None:
    found = log.passes(180, lambda second: warning(log, second))
    assert len(found) == 4  # at 0, 60, 120 and 180 s
    (event,) = {entry["event"].partition(" (")[0].replace("0 to", "# to") for entry in found[:1]}
    quiet = log.passes(240)
    assert [entry["event"].startswith("no longer: ") for entry in quiet] == [True]
    assert quiet[0]["level"] == found[0]["level"]
    warning(log, 0)
    assert log.passes(1)[0]["event"].replace("0 to", "# to") == event


def test_how_often_and_at_which_partitions(log: Log) -> None:
    found = log.passes(60, lambda second: surprised(log, second))
    assert [(entry.get("times"), entry.get("partition"), entry.get("partitions")) for entry in found] == [
        (None, 0, None),
        (12 * 60 - 1, None, list(range(12))),
    ]
    assert found[1]["error"] == "Redis stands at 59"  # the last one
    (over,) = log.passes(61)
    assert (over["times"], over["for_s"]) == (12 * 60, 60)


def test_what_comes_once_has_no_second_line(log: Log) -> None:
    log.engine.warning("these profiles are compacted", topic="profiles")
    assert [entry["event"] for entry in log.passes(300)] == ["these profiles are compacted"]


@pytest.mark.parametrize(
    "differently",
    [
        lambda log: [log.engine.warning("compacted", topic=topic) for topic in ("trades", "logins")],
        lambda log: [log.engine.warning(text) for text in ("this", "that")],
        lambda log: [log.engine.error("refused", reason=reason) for reason in ("no such name", "no such unit")],
        lambda log: [log.engine.log(level, "same") for level in (logging.WARNING, logging.ERROR)],
        lambda log: [structlog.get_logger(name).warning("same") for name in ("engine.a", "engine.b")],
        lambda log: [log.engine.info("rule set active", partition=partition) for partition in (1, 2)],
    ],
)
def test_what_is_another_warning_or_no_warning_is_written_at_once(log: Log, differently: Callable[[Log], Any]) -> None:
    assert len(log.passes(1, lambda second: differently(log))) == 2


def test_nothing_is_lost_at_the_end(log: Log) -> None:
    log.passes(5, lambda second: fenced(log, second))
    log.folding.say(all_of_it=True)
    (entry,) = log.passes(1)
    assert entry["times"] == 4


def test_however_many_kinds_there_are_memory_is_bounded(log: Log) -> None:
    kinds = [f"kind {chr(0x4E00 + number)}" for number in range(MOST_KINDS + 50)]
    assert len(log.passes(1, lambda second: [log.engine.warning(kind) for kind in kinds] and None)) == len(kinds)
    assert len(log.folding._kinds) == MOST_KINDS
    log.passes(120)
    assert not log.folding._kinds
