"""What `engage preview` says would reach a client if nothing but time happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.client.sections import pack, unpack
from engine.core.contract.message import Message
from engine.core.decide.path import Due, decide
from engine.core.plan.compile import Plan
from engine.insight import preview as previews
from engine.insight.preview import Preview, as_json, lines, preview
from engine.operations import snapshot
from engine.runtime.formats import SNAPSHOT_FORMAT
from engine.runtime.protocol.writes import encode_writes
from tests.core.making import FEATURES, TIERS, Desk, at, balance, login, plan_of, profile, rule, shipped_plan, trade
from tests.core.test_policy import CLASSES, QUIET
from tests.runtime.driving import written
from tests.services.process import REPOSITORY

POLICY = "contact: {daily_cap: 100}\n" + CLASSES + QUIET + "\ncaps: {one: {at_most: 1, per: day}}\n"
LETTER = {"on": None, "at": "{every: day, time: '17:00'}", "priority": 80}
RULES = (
    rule("letter", title="Letter of the day", **LETTER, when="client.tier == 'A'"),
    rule(
        "silent",
        title="Not seen for 3 days",
        silence="{of: logins, for: 3d}",
        when="client.days_known >= 0",
        cooldown="30d",
    ),
    rule(
        "call",
        title="Call who was not seen for 4 days",
        silence="{of: logins, for: 4d}",
        when="client.days_known >= 0",
        audience="advisor",
        kind="task",
    ),
    rule("seen", when="client.tier == 'A'"),
)
PLAN = plan_of(*RULES, others=(("policy.yaml", POLICY),))


def desk_of(plan: Plan = PLAN, assets_cny: float = 2_000_000) -> Desk:
    desk = Desk(plan)
    desk.take(profile(at(0, 8)), balance(at(0, 9), assets_cny), login(at(0, 10)))
    return desk


def foreseen(desk: Desk, days: float, plan: Plan = PLAN) -> Preview:
    client = unpack(plan.layout, pack(desk.plan.layout, desk.client))
    return preview(plan, client, client.now_ms, at(days, 23))


def short(found: Preview) -> list[str]:
    return [line for line in lines(found) if line.startswith("  2026")]


def test_the_manual_shows_it() -> None:
    page = (REPOSITORY / "docs" / "policy.md").read_text(encoding="utf-8")
    assert "```\n" + "\n".join(lines(foreseen(desk_of(), 4))) + "\n```" in page


def test_it_says_what_comes_and_what_is_stopped_by_which_numbers() -> None:
    found = foreseen(desk_of(), 4)
    text = list(lines(found))
    assert text[0] == "client c1 from 2026-02-16 10:00 to 2026-02-20 23:00 (UTC+8), if nothing but time happens"
    assert short(found) == [
        "  2026-02-16 17:00  cap            letter (Letter of the day)",
        "  2026-02-17 17:00  sent           letter (Letter of the day)  message by app_push",
        "  2026-02-18 17:00  sent           letter (Letter of the day)  message by app_push",
        "  2026-02-19 10:00  sent           silent (Not seen for 3 days)  message by app_push",
        "  2026-02-19 17:00  cap            letter (Letter of the day)",
        "  2026-02-20 10:00  sent           call (Call who was not seen for 4 days)  task for team wealth",
        "  2026-02-20 17:00  sent           letter (Letter of the day)  message by app_push",
    ]
    assert "count 1, at most 1, period day" in text[text.index(short(found)[0]) + 1]
    assert text[-2:] == [
        "in all: 2 cap, 5 sent",
        "not asked: rates, budgets and the breaker, which depend on other clients",
    ]
    assert foreseen(desk_of(assets_cny=10), 2).steps == []
    assert "  nothing" in list(lines(foreseen(desk_of(assets_cny=10), 2)))


def test_what_is_held_over_the_night_is_decided_again() -> None:
    desk = desk_of()
    desk.take(login(at(1, 23)))
    assert short(foreseen(desk, 2))[0] == "  2026-02-18 08:30  sent           seen (T)  message by app_push"


def test_a_tier_that_time_alone_changes_is_shown() -> None:
    desk = desk_of()
    desk.take(balance(at(1), 10))
    moves = [line for line in short(foreseen(desk, 80)) if " tier " in line]
    assert len(moves) == 1
    assert moves[0].endswith("A -> C (demoted)")


def test_rules_that_are_not_active_yet_act_at_once() -> None:
    plan = plan_of(*RULES, rule("rich", becomes="client.tier == 'A'", cooldown="30d", priority=90))
    assert short(foreseen(desk_of(), 0, plan))[0].startswith("  2026-02-16 10:00  sent           rich (T)")


@pytest.mark.parametrize("days", [120, 300])
def test_it_is_what_a_live_engine_publishes_when_no_event_comes(days: int) -> None:
    plan = shipped_plan()
    desk = Desk(plan)
    desk.take(
        profile(at(0, 8), advisor_id="A-1", birth_date="1970-03-01", risk_level="R3"),
        *(balance(at(day, 15), 1_500_000 - 30_000 * day, cash_fen=90_000_000) for day in range(9)),
        *(login(at(day, 10)) for day in range(9)),
        *(trade(at(day, 11), amount_fen=9_000_000) for day in range(9)),
    )
    packed, until_ms = pack(plan.layout, desk.client), desk.client.now_ms + days * 86_400_000
    found = preview(plan, unpack(plan.layout, packed), desk.client.now_ms, until_ms)
    live, messages = unpack(plan.layout, packed), list[Message]()
    while live.due_ms <= until_ms:
        messages += decide(plan, {"c1": live}, [Due("c1", live.due_ms)]).messages
    told = [(one.topic, json.loads(one.value or b"")) for one in messages]
    assert found.steps == [one for one in told if one[1].get("outcome") != "sent"]
    assert len(found.steps) > 4
    assert json.loads(json.dumps(as_json(found))) == as_json(found)


def test_a_client_who_is_evaluated_without_end_is_shown_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "MAX_TIMERS", 3)
    found = foreseen(desk_of(), 4)
    assert not found.is_whole
    assert found.until_ms < at(4)
    assert any("there is more" in line for line in lines(found))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A snapshot of one client, and rules."""
    desk = desk_of()
    with (tmp_path / "snapshot").open("wb") as out:
        rows = snapshot.Rows(out)
        rows.put({"engage_snapshot": SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1})
        rows.put({"partition": 0, "position": b""})
        packed = pack(PLAN.layout, desk.client)
        rows.put({"states": encode_writes([written(unpack(PLAN.layout, packed), packed)])})
        rows.end()
    rules = tmp_path / "rules"
    rules.mkdir()
    texts = {"features.yaml": f"features:\n{FEATURES}", "tiers.yaml": TIERS, "policy.yaml": POLICY}
    for name, text in {**texts, "rules.yaml": "rules:\n" + "".join(RULES)}.items():
        (rules / name).write_text(text, encoding="utf-8")
    return ["preview", "--snapshot", str(tmp_path / "snapshot"), "--rules", str(rules)]


def answered(arguments: list[str], *more: str) -> Any:
    return CliRunner().invoke(main, [*arguments, *more])


def test_the_command_reads_a_snapshot(arguments: list[str]) -> None:
    result = answered(arguments, "c1", "--days", "1.5")
    assert result.exit_code == 0, result.output
    assert "  2026-02-17 17:00  sent           letter (Letter of the day)  message by app_push" in result.output
    found = json.loads(answered(arguments, "c1", "--days", "1.5", "--json").output)
    assert found["until"] == "2026-02-17T14:00:00.000Z"
    assert {"rule_id": "letter", "outcome": "sent", "times": 1} in found["outcomes"]


def test_a_client_who_is_not_known_is_refused(arguments: list[str]) -> None:
    result = answered(arguments, "c9")
    assert (result.exit_code, result.output) == (1, "Error: no client c9 is known\n")
