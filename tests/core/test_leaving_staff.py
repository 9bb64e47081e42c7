"""Teams and advisors whom new files lack, move or bar: what is counted before is what happens, and nothing is lost."""

from __future__ import annotations

from engine.core.client import record
from engine.core.client.sections import pack
from engine.core.plan.compile import Plan
from engine.insight.outlook import Outlook, leaves_of, outlook, staff_lines
from engine.rulefile.tools.effects import effects
from tests.core.making import at, plan_of, rule, trade
from tests.core.test_open_tasks import ADVISORS_YAML, CARE, POOLS, Firm
from tests.core.test_tasks_that_move import sweep

ADVISORS = ADVISORS_YAML.replace("bob: {pool: east, capacity: 9", "bob: {pool: east, capacity: 1")
TEAMS = """\
teams:
  wealth: {title: Wealth, head: chief, headers: {desk: "07"}}
  research: {title: Research, head: head-of-research, headers: {desk: "09"}}
"""


def plan(advisors: str = ADVISORS, *, owner: str = "wealth", teams: str = TEAMS) -> Plan:
    of = {"owner": owner, "cooldown": "1m"}
    return plan_of(
        rule("ask", on="trades", kind="assignment", audience="team", when="not client.has_advisor", **of),
        rule("call", kind="task", audience="advisor", expires="5d", care=CARE, **of),
        rule("look", on="trades", kind="alert", audience="team", expires="5d", care=CARE, **of),
        others=(
            ("advisors.yaml", advisors),
            ("assignment.yaml", POOLS.replace("team: wealth", f"team: {owner}")),
            ("teams.yaml", teams),
        ),
    )


BEFORE = plan()
MOVED = plan(ADVISORS.replace("ann: {pool: east", "ann: {pool: rest"))
BARRED = plan(ADVISORS.replace("ann: {pool: east", "ann: {not_for: [c1, c9], pool: east"))
GONE = plan(ADVISORS.replace("ann:", "dan:"))
NO_TEAM = plan(owner="research", teams=TEAMS.replace("wealth", "service"))


def firm() -> Firm:
    """The pool gave ann three clients, of whom two have an open task and one waits; each has an alert for the team."""
    found = Firm(BEFORE)
    for number in (1, 2, 3):
        found.client(f"c{number}", None)
        found.decide(trade(at(0) + number, client_id=f"c{number}"))
        found.pass_on()
        found.log_in(f"c{number}", at(1) + number)
    assert {state.advisor_id for state in found.states.values()} == {"ann"}
    assert found.open() == {"ann": 2}
    return found


def counted(of: Firm, after: Plan) -> list[str]:
    """The same from a snapshot, before publishing and of a diff."""
    told = leaves_of(BEFORE.rule_set, after.rule_set, of.states.values())
    packed = [pack(BEFORE.layout, state) for state in of.states.values()]
    found = outlook(BEFORE, after, packed, at(1) + 60_000)
    assert found.staff == told
    assert [line for line in found.lines() if line in staff_lines(told)] == list(staff_lines(told))
    assert found.of_all(10).staff == {what: 10 * number for what, number in told.items()}
    return list(staff_lines(told))


def become(of: Firm, after: Plan) -> None:
    of.publish(after, at(2))
    sweep(of, at(2))


def test_an_advisor_of_another_pool():
    of = firm()
    assert counted(of, MOVED) == ["  advisor ann: 3 clients are given on, 2 open, 1 wait for room"]
    assert effects(BEFORE.rule_set, MOVED.rule_set)[0] == (
        "advisor ann is of pool rest now: pool east gives the clients on, to whoever has room or to nobody; what is "
        "open goes with each client"
    )
    become(of, MOVED)
    assert [state.advisor_id for state in of.states.values()] == ["bob", None, None]
    assert (of.pools["east"].loads["ann"], of.open()) == (0, {"bob": 1})
    assert [(one["client_id"], one["audience"]) for one in of.sent if one["rule_id"] == "call"] == [
        ("c1", "advisor"),
        ("c2", "advisor"),
        ("c3", "team"),  # what waited, of who has no advisor now
    ]


def test_a_client_whom_an_advisor_must_not_have_any_more():
    of = firm()
    assert counted(of, BARRED) == ["  advisor ann: 1 clients are given on"]
    assert effects(BEFORE.rule_set, BARRED.rule_set) == (
        "advisor ann must not have 2 more: whom of them a pool gave, it gives on",
    )
    become(of, BARRED)
    assert [state.advisor_id for state in of.states.values()] == ["bob", "ann", "ann"]
    assert of.open() == {"ann": 2, "bob": 1}  # what waited with ann has room


def test_an_advisor_who_is_gone():
    of = firm()
    assert counted(of, GONE) == ["  advisor ann: 3 clients stay, 2 open, 1 wait for room"]
    become(of, GONE)
    assert {state.advisor_id for state in of.states.values()} == {"ann"}
    work = [one for state in of.states.values() for one in record.open_work(state) if one["kind"] == "task"]
    assert [(one["client_id"], one["for"], one["advisor_id"]) for one in work] == [
        *(("c1", "advisor", "ann"), ("c2", "advisor", "ann")),
        ("c3", "team", None),
    ]
    for action in list(of.sent):
        of.say_of(action, at(3))
    assert (of.open(), [state.rooms for state in of.states.values()]) == ({}, [[], [], []])


def test_a_team_that_is_gone():
    of = firm()
    assert counted(of, NO_TEAM) == ["  team wealth: 5 open"]
    assert effects(BEFORE.rule_set, NO_TEAM.rule_set)[0] == (
        "team wealth is gone: what is open stays in its work list (`engage work wealth`) until it is closed; reminders "
        "and escalations go to the owner that the rule has now"
    )
    before = [record.work_places(state) for state in of.states.values()]
    assert sum(places.count("team:wealth ") for places in before) == 5
    of.steps.clear()
    become(of, NO_TEAM)  # reminders fall due
    assert [record.work_places(state) for state in of.states.values()] == before
    assert {one["owner"] for one in of.steps} == {"research"}
    for action in of.sent:
        of.say_of(action, at(3))
    assert not any(record.work_places(state) for state in of.states.values())


def test_files_without_a_change_of_staff_say_nothing():
    of = firm()
    assert counted(of, BEFORE) == []
    assert outlook(BEFORE, BEFORE, [], at(2)) == Outlook()
    without = plan_of(rule("hello"))
    assert counted(of, without) == []  # any name can own work, and no pool acts
