"""What `engage decisions` says of a client: what is held, why others were not sent, and what would have to change."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from engine.core.contract.outbound import DECISIONS, Outcome
from engine.core.contract.topics import DEAD_LETTERS
from engine.demo.embedded import EmbeddedKafka
from engine.insight.decisions import _MEANS, as_json, change, decided_of, lines, why
from engine.operations.dead_letters import read_all
from engine.operations.explain import told_since
from engine.runtime.clients import Clients
from engine.runtime.partitioning import partitioner
from engine.runtime.settings import load
from tests.core.making import Desk, at, decisions, login, plan_of, profile, rule, trade
from tests.core.test_policy import CLASSES, QUIET
from tests.services.process import REPOSITORY

POLICY = "contact: {daily_cap: 100}\n" + CLASSES + QUIET + "\ncaps: {one: {at_most: 1, per: day, of: {kind: survey}}}\n"
PLAN = plan_of(
    rule("first", kind="survey", title="First survey", priority=60),
    rule("second", kind="survey", title="Second survey"),
    rule("letter", on="trades", channels="[email]", title="Letter on a trade"),
    others=(("policy.yaml", POLICY),),
)


@pytest.fixture
def desk() -> Desk:
    desk = Desk(PLAN)
    desk.take(profile(at(0, 0)), *(login(at(1, hour)) for hour in (9, 10, 11)), trade(at(1, 12)), login(at(1, 23)))
    return desk


def test_the_manual_shows_it(desk: Desk) -> None:
    page = (REPOSITORY / "docs" / "policy.md").read_text(encoding="utf-8")
    assert "```\n" + "\n".join(lines(decided_of(PLAN, desk.client, decisions(desk.decided), 7))) + "\n```" in page


def test_it_says_why_and_what_would_have_to_change(desk: Desk) -> None:
    text = list(lines(decided_of(PLAN, desk.client, decisions(desk.decided), 7)))
    assert text[0] == "client c1 at 2026-02-17 23:00 (UTC+8)"
    held = text.index("held, the next first")
    assert text[held + 1] == "  2026-02-18 08:30  first (First survey)"
    assert text[held + 2].startswith(
        "      since 2026-02-17 23:00, for quiet hours; it is decided again then, and expires"
    )
    at_cap = next(n for n, line in enumerate(text) if " cap " in line and "second" in line)
    assert text[at_cap] == "  2026-02-17 09:00  cap            second (Second survey)  survey by app_push"
    numbers = "cap one, count 1, at most 1, period day, lost to first"
    assert text[at_cap + 1] == f"      the client had what a cap allows ({numbers}), until 2026-02-18 00:00"
    assert text[at_cap + 2] == f"      to be sent: {change('cap')}"
    refused = next(n for n, line in enumerate(text) if " no_consent " in line)
    assert "purpose service, channels email" in text[refused + 1]
    assert "      before that, 2 more of second: cap" in text  # told with the next decision
    assert text.index("decisions of the last 7 days, the latest first") == text.index(
        next(line for line in text if line.startswith("decisions"))
    )


def test_programs_read_the_same(desk: Desk) -> None:
    desk.take(login(at(2, 1)), trade(at(2, 2)))
    told = decisions(desk.decided)
    found = as_json(decided_of(PLAN, desk.client, told, 7))
    assert json.loads(json.dumps(found)) == found
    assert [one["id"] for one in found["decisions"]] == [one["id"] for one in reversed(told)]
    assert {one["outcome"] for one in found["decisions"]} >= {"sent", "cap", "held", "no_consent"}
    for one in found["decisions"]:
        assert (one["why"] is None) == (one["change"] is None) == (one["outcome"] == "sent")
    held = {one["match"]: one["not_before"] for one in told if one["outcome"] == "held"}
    assert {one["match"]: one["not_before"] for one in found["held"]} == held


def test_what_is_counted_and_not_published_yet_is_said(desk: Desk) -> None:
    desk.take(*(trade(at(1, 23) + n) for n in range(1, 4)))
    found = decided_of(PLAN, desk.client, decisions(desk.decided), 7)
    assert found.counted == {("letter", "no_consent"): 3}
    assert "  letter: no_consent, 3" in list(lines(found))
    assert as_json(found)["counted"] == [{"rule_id": "letter", "outcome": "no_consent", "times": 3}]


def test_nothing_is_said_of_a_client_to_whom_nothing_happened() -> None:
    desk = Desk(PLAN)
    desk.take(profile(at(0)))
    assert list(lines(decided_of(PLAN, desk.client, [], 0.5)))[1:] == [
        "", "decisions of the last 12 hours, the latest first", "  none"
    ]  # fmt: skip


def test_every_outcome_has_its_words() -> None:
    assert _MEANS.keys() == set(Outcome)
    for outcome in Outcome:
        assert bool(why({"outcome": outcome.value})) == bool(change(outcome)) == (outcome is not Outcome.SENT)
    assert why({"outcome": "added_later", "numbers": {"n": 1}}) == "added_later (n 1)"
    assert change("added_later") == "not known to this version"


def test_a_broker_for_trials_does_not_search_by_time() -> None:
    now_ms = Clients().wall_ms()
    minutes_ago = (("b", 11), ("a", 10), ("b", 9), ("a", 2))

    async def told(broker: EmbeddedKafka, minutes: float) -> list[Any]:
        found = await told_since(load(kafka=broker.address), Clients(), b"a", now_ms - round(minutes * 60_000))
        return [one["ago"] for one in found]

    async def scenario(broker: EmbeddedKafka) -> None:
        assert await told(broker, 60) == []
        async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
            number = partitioner(4)(b"a")
            for key, ago in minutes_ago:
                value, at_ms = json.dumps({"ago": ago}).encode(), now_ms - ago * 60_000
                await producer.send_and_wait(DECISIONS, value, key.encode(), number, timestamp_ms=at_ms)
        assert [await told(broker, minutes) for minutes in (60, 9.5, 1)] == [[10, 2], [2], []]

    with EmbeddedKafka() as broker:
        broker.create_topics([DECISIONS])
        asyncio.run(scenario(broker))


def test_long_topics_tell_how_far_they_were_read() -> None:
    heard: dict[str, list[tuple[int, int]]] = {DECISIONS: [], DEAD_LETTERS: []}

    async def scenario(broker: EmbeddedKafka) -> None:
        settings = load(kafka=broker.address)
        async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
            number = partitioner(4)(b"a")
            for topic, counts in ((DECISIONS, {number: 1_200}), (DEAD_LETTERS, {0: 700, 2: 600})):
                for partition, count in counts.items():
                    sent = [await producer.send(topic, b"{}", b"a", partition) for _ in range(count)]
                    await asyncio.gather(*sent)
        told = await told_since(settings, Clients(), b"a", 0, lambda *done: heard[DECISIONS].append(done))
        read = read_all(settings, Clients(), lambda *done: heard[DEAD_LETTERS].append(done))
        assert (len(told), len([letter async for letter in read])) == (1_200, 1_300)

    with EmbeddedKafka() as broker:
        broker.create_topics([DECISIONS, DEAD_LETTERS, load().resent_topic])
        asyncio.run(scenario(broker))
    assert heard[DECISIONS] == [(0, 1_200), (500, 1_200), (1_000, 1_200)]
    assert heard[DEAD_LETTERS] == [(0, 1_300), (500, 1_300), (700, 1_300), (1_200, 1_300)]
