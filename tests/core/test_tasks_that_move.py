"""What is open counts with whoever has the client: another advisor, another pool, a number that is new."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide import pools
from engine.core.decide.path import Due, Sweep
from engine.core.plan.compile import Plan
from tests.core.making import at, profile
from tests.core.test_open_tasks import ADVISORS_YAML, Firm, plan

IN_REST = ADVISORS_YAML.replace("ann: {pool: east", "ann: {pool: rest")
NO_NUMBER = ADVISORS_YAML.replace(", open_tasks: 2", "")


def with_tasks(*clients: str, rules: Plan | None = None, advisor: str = "ann") -> Firm:
    """Each has a task: it is open, or waits."""
    firm = Firm(rules)
    for number, name in enumerate(clients):
        firm.client(name, advisor)
        firm.log_in(name, at(1) + number)
    return firm


def goes(firm: Firm, name: str, advisor: str | None, time_ms: int) -> None:
    firm.decide(profile(time_ms, name, advisor_id=advisor))
    firm.pass_on()


def publish(firm: Firm, rules: Plan, time_ms: int) -> None:
    """Both processors sweep: pools first, or clients."""
    firm.publish(rules, time_ms)
    sweep(firm, time_ms)


def sweep(firm: Firm, time_ms: int) -> None:
    for name in list(firm.states):
        firm.decide(Sweep(name, time_ms))
        firm.decide(Due(name, time_ms + 1_000))
    firm.pass_on()


def test_what_is_open_counts_with_the_next_advisor_and_no_longer_with_the_old_one():
    firm = with_tasks("c1", "c2", "c3")
    goes(firm, "c1", "bob", at(2))
    assert firm.open() == {"ann": 2, "bob": 1}  # c3 has the room that c1 gave back
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2", "c3"]
    firm.client("c4", "bob", at(2))
    firm.log_in("c4", at(2) + 1)
    assert len(firm.sent) == 3  # bob has one of one
    firm.say_of(firm.sent[0], at(3))
    assert (len(firm.sent), firm.open()) == (4, {"ann": 2, "bob": 1})


def test_a_handover_brings_an_advisor_over_the_number_and_nothing_new_comes_until_there_is_room():
    firm = with_tasks("c1", "c2")
    for name in ("c1", "c2"):
        goes(firm, name, "bob", at(2))
    assert firm.open() == {"bob": 2}  # of one
    firm.client("c3", "bob", at(2))
    firm.log_in("c3", at(2) + 1)
    firm.say_of(firm.sent[0], at(3))
    assert (len(firm.sent), firm.open()) == (2, {"bob": 1})
    firm.say_of(firm.sent[1], at(3) + 1)
    assert (len(firm.sent), firm.open()) == (3, {"bob": 1})


def test_there_and_back_over_an_advisor_who_can_have_any_number():
    firm = with_tasks("c1", "c2", "c3")
    goes(firm, "c1", "cy", at(2))
    assert (firm.open(), firm.states["c1"].rooms) == ({"ann": 2}, [])
    goes(firm, "c1", "ann", at(3))
    assert firm.open() == {"ann": 3}
    goes(firm, "c1", None, at(4))
    assert firm.open() == {"ann": 2}
    goes(firm, "c1", "ann", at(5))
    for action in firm.sent:
        firm.say_of(action, at(6))
    assert (firm.open(), [name for name, of in firm.states.items() if of.rooms]) == ({}, [])


def test_what_the_team_has_and_what_is_over_count_with_nobody():
    firm = with_tasks("c1", "c2", "c3")
    firm.say(at(1) + 50, "ann", present=False)  # c3's goes to the team
    firm.say_of(firm.sent[0], at(2))
    for name in ("c1", "c3"):
        goes(firm, name, "bob", at(3))
    assert firm.open() == {"ann": 1}


def test_what_is_said_again_counts_once_and_what_is_over_by_then_not_at_all():
    firm = with_tasks("c1", "c2")
    goes(firm, "c1", "bob", at(2))
    (comes,) = [one for one in firm.asked if one["kind"] == "open"]
    assert (comes["advisor_id"], comes["client"], comes["priority"]) == ("bob", "c1", firm.sent[0]["priority"])
    for _ in range(2):
        firm.pool(ASSIGNMENT_REQUESTS.validate(json.dumps(comes)))
        assert (firm.answers, firm.open()) == ([], {"ann": 1, "bob": 1})
    firm.say_of(firm.sent[0], at(3))
    firm.pool(ASSIGNMENT_REQUESTS.validate(json.dumps(comes)))
    assert firm.open() == {"ann": 1}


@pytest.mark.parametrize("clients_first", [False, True])
def test_an_advisor_of_another_pool_brings_along_what_is_open_and_what_waits(clients_first: bool):
    firm, moved = with_tasks("c1", "c2", "c3"), plan(advisors=IN_REST)
    if clients_first:
        firm.plan = moved
        sweep(firm, at(2))
    publish(firm, moved, at(2))
    assert {name: dict(pool.open) for name, pool in firm.pools.items()} == {"east": {}, "rest": {"ann": 2}}
    assert (firm.pools["east"].tasks, [*firm.pools["rest"].queued]) == ({}, ["ann"])
    assert len(firm.sent) == 2  # what waits is not the team's: she is there
    firm.say_of(firm.sent[0], at(3))
    assert ([one["audience"] for one in firm.sent], firm.open()) == (["advisor"] * 3, {"ann": 2})


def test_a_number_that_is_new_counts_what_is_open_already():
    firm = with_tasks("c1", "c2", "c3", rules=plan(advisors=NO_NUMBER))
    assert (len(firm.sent), firm.pools) == (3, {})
    firm.plan = plan()
    sweep(firm, at(2))
    assert firm.open() == {"ann": 3}
    firm.client("c4", "ann", at(2) + 1)
    firm.log_in("c4", at(2) + 2)
    assert len(firm.sent) == 3
    for action in firm.sent[:2]:
        firm.say_of(action, at(3))
    assert (len(firm.sent), firm.open()) == (4, {"ann": 2})


def test_a_number_that_is_gone_counts_nothing():
    firm = with_tasks("c1", "c2", "c3")
    firm.plan = plan(advisors=NO_NUMBER)
    sweep(firm, at(2))
    assert (firm.open(), firm.pools["east"].tasks) == ({}, {})
    for name in ("c1", "c2", "c3"):
        firm.log_in(name, at(2) + 1)
    assert [one["client_id"] for one in firm.sent][:3] == ["c1", "c2", "c3"]


def test_a_pool_asked_by_rules_that_it_does_not_have_yet_waits_for_them():
    firm = with_tasks("c1")
    (asked,) = firm.asked
    asked |= {"client_id": "rest", "event_id": "x", "request_id": "x"}
    roster = firm.plan.pools.roster
    assert pools.take(roster, firm.pools, ASSIGNMENT_REQUESTS.validate(json.dumps(asked))) == []
    answers = pools.sweep(plan(advisors=IN_REST).pools.roster, firm.pools["rest"], at(2))
    assert [json.loads(answer.value)["outcome"] for answer in answers] == ["room"]


def test_what_each_digest_says_decides_who_is_swept():
    digests: dict[str, Any] = {
        name: plan(advisors=text).timed.digest
        for name, text in {
            "as it is": ADVISORS_YAML,
            "another number": ADVISORS_YAML.replace("open_tasks: 2", "open_tasks: 7"),
            "another pool": IN_REST,
            "no number": NO_NUMBER,
        }.items()
    }
    assert digests["as it is"] == digests["another number"]
    assert len(set(digests.values())) == 3
