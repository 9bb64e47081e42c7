"""`engage warnings`: who handled each risk warning, when and how, from what was published and what came back."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from engine.demo.embedded import EmbeddedKafka
from engine.reports.warnings import TOPICS, Warned, as_csv, recorded, warnings
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.settings import load
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule
from tests.core.test_answers import came
from tests.core.test_care import CARE, OTHERS
from tests.core.test_items import TEAM

CLASS = {"class": "risk"}
PLAN = plan_of(
    rule("warn", kind="alert", audience="advisor", priority=90, care=CARE, **CLASS),
    rule("poor", becomes="client.assets_cny < 100", care="{overdue: 1d}", **CLASS, **TEAM),
    rule("other", kind="alert", audience="team"),
    others=OTHERS,
)


def outcome(records: list[dict[str, Any]], desk: Desk, time_ms: int, action: str, status: str, **fields: Any) -> None:
    topic, event = came("outcomes", time_ms, action_id=action, status=status, **fields)
    desk.tick_all(time_ms - 1)
    desk.take((topic, event))
    records.append({"time": time_ms, "action_id": action, "status": status, **fields})


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    """Four warnings: one that is handled late, one that nobody takes, one that is declined, one that ends by itself."""
    desk, records = Desk(PLAN), list[dict[str, Any]]()
    desk.take(profile(at(0, 8), advisor_id="A-1"))
    ids = []
    for day in (1, 8, 15):
        ids.append(next(a["id"] for a in desk.take(login(at(day))) if a["rule_id"] == "warn"))
        if day == 1:
            outcome(records, desk, at(1, 15), ids[0], "not_reached", by="S-1")
            outcome(records, desk, at(1, 17), ids[0], "accepted", by="S-2")
            outcome(records, desk, at(1, 18), ids[0], "accepted", by="S-3")
            outcome(records, desk, at(2), ids[0], "done", by="S-2", code="agreed")
        desk.tick_all(at(day + 4))
    outcome(records, desk, at(20), ids[2], "declined", by="S-4", code="no_interest")
    desk.take(balance(at(22), 50))
    desk.take(balance(at(22, 13), 500))
    return records + [json.loads(message.value or b"") for message in desk.messages]


def test_each_warning_has_a_row_with_who_when_and_how(told: list[dict[str, Any]]) -> None:
    late, nobody, declined, ended = warnings(told, at(0), at(30))
    assert (late.rule_id, late.status, late.not_reached, late.code) == ("warn", "done", 1, "agreed")
    assert (late.accepted_by, late.accepted_after_s, late.closed_by, late.closed_after_s) == (
        "S-2",
        18_000,
        "S-2",
        86_400,
    )
    assert (late.reminded, late.escalated, late.escalated_first) == (2, "team", "2026-02-17T08:00:00.000Z")
    assert (nobody.status, nobody.escalated, nobody.overdue) == ("open", "team, head", "2026-02-24T12:00:00.000Z")
    assert (nobody.accepted, nobody.closed, nobody.closed_after_s) == ("", "", None)
    assert (declined.status, declined.closed_by, declined.accepted) == ("declined", "S-4", "")
    assert (ended.rule_id, ended.kind, ended.status, ended.closed_after_s) == ("poor", "task", "ended", 3_600)


def test_it_does_not_matter_in_which_order_records_are_read(told: list[dict[str, Any]]) -> None:
    shuffled = list(told)
    random.Random(7).shuffle(shuffled)
    assert warnings(shuffled, at(0), at(30)) == warnings(told, at(0), at(30))


def test_only_those_of_the_time_that_is_asked_for(told: list[dict[str, Any]]) -> None:
    assert [one.sent[:10] for one in warnings(told, at(8), at(15))] == ["2026-02-24"]


def test_programs_and_spreadsheets_read_the_same(told: list[dict[str, Any]]) -> None:
    found = warnings(told, at(0), at(30))
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["id"] for row in rows] == [one.id for one in found]
    assert list(rows[0]) == list(Warned.__dataclass_fields__)
    assert rows[1]["closed_after_s"] == ""


def test_it_is_read_from_the_topics(told: list[dict[str, Any]]) -> None:
    now_ms, moved = Clients().wall_ms(), list[tuple[int, int]]()

    async def scenario(broker: EmbeddedKafka) -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
            for number, value in enumerate(told):
                topic = "outcomes" if "status" in value else f"{value.get('kind', 'alert')}s"
                record = json.dumps(value).encode()
                await producer.send_and_wait(topic, record, b"c1", number % 4, timestamp_ms=now_ms)
            await producer.send_and_wait("outcomes", b"not an outcome", b"c1", 0, timestamp_ms=now_ms)
        settings = load(kafka=broker.address)
        found = await recorded(settings, Clients(), at(0), at(30), lambda *done: moved.append(done))
        assert found == warnings(told, at(0), at(30))
        assert len(found) == 4

    with EmbeddedKafka() as broker:
        broker.create_topics(list(TOPICS))
        asyncio.run(scenario(broker))
    assert moved[-1] == (16, 16)


def test_a_topic_that_is_not_there_is_named() -> None:
    async def scenario(broker: EmbeddedKafka) -> None:
        with pytest.raises(Refused, match="there is no topic outcomes"):
            await recorded(load(kafka=broker.address), Clients(), 0, 1, lambda *_: None)

    with EmbeddedKafka() as broker:
        broker.create_topics([topic for topic in TOPICS if topic != "outcomes"])
        asyncio.run(scenario(broker))
