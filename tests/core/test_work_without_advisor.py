"""Work for the advisor of a client who has none: it goes to the team of the client's pool."""

from __future__ import annotations

import pytest

from engine.core.client.record import open_work
from engine.core.rules.occasion import on as on_topic
from engine.insight.explain import Explainer
from engine.insight.preview import lines, preview
from engine.insight.rendering import as_json, in_full
from tests.core.making import FEATURES, Desk, at, login, plan_of, profile, rule, trade
from tests.core.test_corrections import correction
from tests.services.process import REPOSITORY

TEAMS = """\
teams:
  wealth: {title: Wealth, head: head-of-wealth, headers: {x-team: w}}
  research: {title: Research, head: head-of-research, headers: {x-team: r}}
"""
POOLS = """\
assignment:
  pools:
    east: {when: client.region == "east", team: research}
"""
CARE = "{remind: {after: 2h}, escalate: [{after: 4h, to: head}]}"
PLAN = plan_of(
    rule("call", on="trades", audience="advisor", kind="alert", owner="wealth", care=CARE, cooldown="1m"),
    rule("tell", on="logins", audience="team", kind="task", owner="wealth"),
    features=FEATURES,
    others=(
        ("advisors.yaml", "advisors: {ann: {pool: east, capacity: 1}}\n"),
        ("assignment.yaml", POOLS),
        ("teams.yaml", TEAMS),
    ),
)


def desk(region: str, advisor: str | None = None) -> Desk:
    found = Desk(PLAN)
    found.take(profile(at(0), region=region, advisor_id=advisor))
    return found


@pytest.mark.parametrize(
    ("region", "advisor", "audience", "owner", "header", "lacking"),
    [
        ("east", None, "team", "research", b"r", True),
        ("west", None, "team", "wealth", b"w", True),  # of no pool
        ("east", "ann", "advisor", "wealth", b"w", False),
    ],
)
def test_whose_work_it_is(region, advisor, audience, owner, header, lacking):
    found = desk(region, advisor)
    (action,) = found.take(trade(at(1)))
    (message,) = [m for m in found.messages if m.topic == "alerts"]
    assert (action["audience"], action["owner"], action["team"]) == (audience, owner, "wealth")
    assert dict(message.headers)["x-team"] == header
    assert ("client.has_advisor" in action["why"]) == lacking


def test_a_teams_own_work_stays_its_own():
    (action,) = desk("east").take(login(at(1)))
    assert (action["audience"], action["owner"]) == ("team", "wealth")


def test_it_is_seen_through_by_that_team_until_somebody_is_found():
    found = desk("east")
    found.take(trade(at(1)))
    (reminded,) = found.tick(at(1, 14))
    assert (reminded["to"], reminded["owner"], reminded["head"]) == ("team", "research", "head-of-research")
    assert dict(found.messages[-1].headers)["x-team"] == b"r"
    found.take(profile(at(1, 15), advisor_id="ann"))
    (escalated,) = found.tick(at(1, 16))
    assert (escalated["to"], escalated["owner"], escalated["head"]) == ("head", "wealth", "head-of-wealth")


def test_what_is_retracted_is_heard_where_it_was_sent():
    found, traded = desk("east"), trade(at(1), 900)
    found.take(traded)
    found.take(correction(at(1, 13), traded))
    message = next(m for m in found.messages if dict(m.headers)["ce_type"] == b"engage.retraction.v1")
    assert dict(message.headers)["x-team"] == b"r"


@pytest.mark.parametrize(("region", "team"), [("east", "research"), ("west", "wealth")])
def test_it_is_on_the_work_list_of_that_team(region, team):
    found = desk(region)
    (action,) = found.take(trade(at(1)))
    assert [(one["team"], one["for"], one["action_id"]) for one in open_work(found.client)] == [
        (team, "team", action["id"])
    ]


def test_explain_and_preview_name_the_team():
    found = desk("east")
    (call,) = [one for one in PLAN.rule_set.rules if one.id == "call"]
    explanation = Explainer(PLAN).explain(call, on_topic("trades"), found.client, None, None)
    said = list(in_full(explanation))[-1]
    assert f"```\n{said}\n```" in (REPOSITORY / "docs" / "care.md").read_text(encoding="utf-8")
    assert (as_json(explanation)["audience"], as_json(explanation)["owner"]) == ("team", "research")
    found.take(trade(at(1)))
    assert "for team research" in "\n".join(lines(preview(PLAN, found.client, at(1), at(3))))
