"""Logs: one JSON object a line, and nobody's data in any of them, whatever happens to a partition."""

from __future__ import annotations

import json
import logging

import pytest

from engine.runtime import logs
from engine.runtime.errors import Refused, Surprised, Unavailable
from engine.runtime.settings import load
from tests.core.making import at, balance, login, plan_of, profile, rule, trade
from tests.memory import AFTER, BEFORE
from tests.runtime.driving import Bench, all_batches, next_batch, topics_of

SECRETS = ("jane-doe", "jane-phone", "600519", "adv-jane", "8888888")


async def eventful() -> list[str]:
    """Everything that a partition logs at, over clients that are easy to find. What was raised, as text."""
    me = {"client_id": "jane-doe"}
    bench = Bench(
        plan_of(rule("hello"), rule("quiet", silence="{of: logins, for: 3d}", kind="task", audience="team")),
        publish_faults=["", BEFORE, "", AFTER],
        apply_faults=["", "", BEFORE],
        belongs=lambda key: key != b"jane-elsewhere",
    )
    history = [
        profile(at(0), advisor_id="adv-jane", **me),
        balance(at(1), 8_888_888, kind="deposit", amount_fen=888_888_800, **me),
        *(login(at(day), device_id="jane-phone", **me) for day in range(2, 9)),
        login(at(8) + 1, client_id="jane-elsewhere"),
        trade(at(9), symbol="600519", client_id="jane-doe"),
    ]
    topics = topics_of(history)
    topics["trades"][0].value = (topics["trades"][0].value or b"").replace(b'"buy"', b'"jane-doe"')
    raised = []
    worker = await bench.started()
    while batch := next_batch(topics, worker.offsets, 2):
        try:
            await worker.take(batch)
            await worker.tick(at(30))
        except (Unavailable, Surprised) as error:
            raised.append(str(error))
            bench.data.lose(1)
            await worker.recover()
    with pytest.raises(Surprised) as surprised:
        await worker.take(all_batches(topics, 1)[0])
    bench.ledger.lose(4)
    with pytest.raises(Refused) as refused:
        await worker.recover()
    return [*raised, str(surprised.value), str(refused.value)]


async def test_logs_and_errors_name_no_client(capsys):
    logs.configure(load(log_level="debug"))
    raised = await eventful()
    text = capsys.readouterr().err + "\n".join(raised)
    assert len(raised) >= 4
    assert len(text.splitlines()) > 10
    assert not [secret for secret in SECRETS if secret in text]


async def test_each_line_is_a_json_object_with_its_partition(capsys):
    logs.configure(load(log_level="debug"))
    await eventful()
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"event", "level", "timestamp", "logger"} <= set.intersection(*map(set, entries))
    assert {entry["partition"] for entry in entries} == {7}
    assert {"committed", "recovered"} <= {entry["event"] for entry in entries}


@pytest.mark.parametrize(("level", "shown"), [("info", 1), ("error", 0)])
def test_the_level_is_the_engines_and_libraries_say_only_warnings(capsys, level, shown):
    logs.configure(load(log_level=level))
    logging.getLogger("engine.runtime.protocol.partition").info("ours")
    logging.getLogger("some.library").info("theirs")
    logging.getLogger("some.library").warning("theirs matters")
    logging.getLogger("aiokafka.conn").error("said by the engine in its own words")
    lines = capsys.readouterr().err
    assert lines.count("ours") == shown
    assert "theirs matters" in lines
    assert '"theirs"' not in lines
    assert "own words" not in lines


def test_text_for_a_terminal(capsys):
    logs.configure(load(log_format="console"))
    logging.getLogger("engine.x").warning("hello")
    (line,) = capsys.readouterr().err.splitlines()
    assert "hello" in line
    assert not line.startswith("{")
