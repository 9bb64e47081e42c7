"""Open items: what waits for an answer, how many there are, how old they are, and rules that hear of the unanswered."""

import itertools

import pytest

from engine.core.client import items
from engine.core.client.items import MAX_ITEMS
from engine.core.client.sections import pack, unpack
from engine.core.firm_time import DAY_MS
from engine.core.rules.occasion import UNANSWERED
from engine.insight.explain import Explainer, standing
from engine.rulefile.read.load import load
from engine.runtime.redis import reading
from tests.core.making import FEATURES, HOUR_MS, Desk, at, login, plan_of, profile, rule
from tests.core.test_answers import came, opt_out
from tests.rulefile.sample import FILES

TEAM = {"kind": "task", "audience": "team"}
NAMED = "{id: item.id, kind: item.kind, about: item.about, days: item.days, opened: item.opened_at}"
LATE_COMPLAINT = rule("late", unanswered="{of: complaint, for: 2d}", parameters=NAMED, **TEAM)
ASK = rule("ask", kind="survey")
CHASE = rule("chase", unanswered="{of: ask, for: 3d}", parameters=NAMED, **TEAM)


def step(time_ms, status, complaint="K1", **fields):
    return came("complaints", time_ms, complaint_id=complaint, status=status, **fields)


def desk(*rules):
    found = Desk(plan_of(*rules))
    found.take(profile(at(0)))
    return found


def fired(actions, rule_id):
    return [(action["time"], action["parameters"]["id"]) for action in actions if action["rule_id"] == rule_id]


# -- complaints --------------------------------------------------------------------------------------------------------


def test_a_complaint_without_an_answer_is_seen_once_at_its_own_time():
    found = desk(LATE_COMPLAINT)
    found.take(step(at(1), "opened", category="fees"), step(at(1.5), "opened", "K2"))
    assert found.client.due_ms == at(3)
    first, second = [a for a in found.tick_all(at(30)) if a["rule_id"] == "late"]
    assert first["parameters"] == {
        "id": "K1", "kind": "complaint", "about": "fees", "days": 2, "opened": "2026-02-17T04:00:00.000Z",
    }  # fmt: skip
    assert (first["time"], first["cause"]["type"]) == ("2026-02-19T04:00:00.000Z", "timer")
    assert (second["parameters"]["id"], second["time"]) == ("K2", "2026-02-19T16:00:00.000Z")


@pytest.mark.parametrize("status", ["answered", "resolved", "withdrawn"])
def test_an_answer_in_time_ends_the_wait(status):
    found = desk(LATE_COMPLAINT)
    found.take(step(at(1), "opened"), step(at(2.9), status))
    assert fired(found.tick_all(at(30)), "late") == []


def test_a_complaint_that_is_opened_again_is_waited_for_again():
    found = desk(LATE_COMPLAINT)
    found.take(step(at(1), "opened"))
    assert len(fired(found.tick_all(at(4)), "late")) == 1
    found.take(step(at(5), "resolved"), step(at(6), "reopened"))
    assert fired(found.tick_all(at(30)), "late") == [("2026-02-24T04:00:00.000Z", "K1")]


STEPS = (("opened", 1), ("answered", 2), ("resolved", 3), ("reopened", 5), ("answered", 6))


@pytest.mark.parametrize("last", range(1, len(STEPS) + 1))
def test_steps_may_come_in_any_order(last):
    """The clock begins with the latest opening, the state is that of the latest step."""
    ends = set()
    for order in itertools.permutations(STEPS[:last]):
        found = desk(rule("late", unanswered="{of: complaint, for: 30d}", **TEAM))
        found.take(*(step(at(day), status) for status, day in order))
        ends.add(tuple(map(str, found.client.items[0])))
        assert len(found.client.items) == 1
    assert len(ends) == 1
    open_ = STEPS[last - 1][0] != "resolved"
    assert items.count(found.client.items, "complaint") == open_
    assert items.oldest_ms(found.client.items, "complaint") == (at(5 if last > 3 else 1) if open_ else None)


def test_what_became_overdue_before_it_came_is_seen_at_once():
    found = desk(LATE_COMPLAINT)
    found.take(login(at(10)))
    found.take(step(at(3), "opened"))
    (action,) = [a for a in found.tick_all(at(11)) if a["rule_id"] == "late"]
    assert action["parameters"]["days"] == 7


# -- actions -----------------------------------------------------------------------------------------------------------


def test_a_survey_that_nobody_answers():
    found = desk(ASK, CHASE)
    (survey,) = [a for a in found.take(login(at(1))) if a["rule_id"] == "ask"]
    assert fired(found.tick_all(at(30)), "chase") == [("2026-02-20T04:00:00.000Z", survey["id"])]


@pytest.mark.parametrize(
    ("topic", "fields", "waits"),
    [
        ("feedback", {"nps": 9}, False),
        ("outcomes", {"status": "done"}, False),
        ("outcomes", {"status": "declined"}, False),
        ("outcomes", {"status": "accepted"}, False),
        ("outcomes", {"status": "not_reached"}, True),
        ("receipts", {"status": "opened"}, True),
    ],
)
def test_what_counts_as_an_answer(topic, fields, waits):
    found = desk(ASK, CHASE)
    (survey,) = [a for a in found.take(login(at(1))) if a["rule_id"] == "ask"]
    found.take(came(topic, at(2), action_id=survey["id"], **fields))
    assert bool(fired(found.tick_all(at(30)), "chase")) is waits


def test_an_answer_to_another_action_is_none():
    found = desk(ASK, CHASE)
    found.take(login(at(1)), came("feedback", at(2), action_id="another", nps=9))
    assert len(fired(found.tick_all(at(30)), "chase")) == 1


def test_actions_are_kept_only_where_a_rule_asks_for_them():
    counting = rule("count", when="client.open_surveys >= 2", on="trades", **TEAM)
    aged = rule("aged", when="client.oldest_survey_days >= 2", on="trades", **TEAM)
    for rules, kept in (
        ((ASK,), 0),
        ((ASK, LATE_COMPLAINT), 0),
        ((ASK, CHASE), 1),
        ((ASK, counting), 1),
        ((ASK, aged), 1),
        ((rule("ask", kind="survey", was="[chased]"), rule("chase", unanswered="{of: survey, for: 1d}", **TEAM)), 1),
    ):
        found = desk(*rules)
        found.take(login(at(1)))
        assert len(found.client.items) == kept, rules
    assert plan_of(ASK, CHASE).timed.kept == {"ask"}


def test_who_has_no_items_is_stored_in_not_one_byte_more(monkeypatch):
    sizes = []
    for rules in ((ASK,), (ASK, LATE_COMPLAINT, rule("chase", unanswered="{of: task, for: 3d}", **TEAM))):
        monkeypatch.setattr("tests.core.making._event_ids", itertools.count())
        found = Desk(plan_of(*rules))
        found.take(profile(at(0)), login(at(1)), opt_out(at(2)))
        sizes.append(len(pack(found.plan.layout, found.client)))
    assert sizes[0] == sizes[1]


# -- names -------------------------------------------------------------------------------------------------------------


def test_counts_and_ages_are_names():
    found = desk(
        rule(
            "care", on="logins", when="client.open_complaints >= 1",
            parameters="{open: client.open_complaints, days: client.oldest_complaint_days}", **TEAM,
        )
    )  # fmt: skip
    found.take(step(at(1), "opened"), step(at(2), "answered", "K2"), step(at(3), "opened", "K3"))
    (action,) = found.take(login(at(5.5)))
    assert action["parameters"] == {"open": 3, "days": 4}
    found.take(*(step(at(6), "resolved", f"K{number}") for number in (1, 2, 3)))
    assert found.take(login(at(7))) == []


def test_a_condition_over_their_age_becomes_true_by_itself():
    found = desk(rule("old", becomes="client.oldest_complaint_days >= 5", **TEAM))
    found.take(step(at(1), "opened"))
    assert [a["time"] for a in found.tick_all(at(30)) if a["rule_id"] == "old"] == ["2026-02-22T04:00:00.000Z"]


def test_a_condition_over_what_was_just_sent_becomes_true_at_once():
    found = desk(ASK, rule("busy", becomes="client.open_surveys >= 2", cooldown="1m", **TEAM))
    found.take(login(at(1)))
    assert found.tick_all(at(2)) == []
    found.take(login(at(3)))
    assert [a["time"] for a in found.tick_all(at(4))] == ["2026-02-19T04:00:00.001Z"]


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_there_are_at_most_so_many_and_what_is_closed_goes_first():
    found = desk(LATE_COMPLAINT)
    found.take(
        step(at(1), "opened", "first"), step(at(1, 13), "opened", "closed"), step(at(1, 14), "resolved", "closed")
    )
    found.take(*(step(at(2) + number, "opened", f"N{number}") for number in range(MAX_ITEMS - 1)))
    keys = [item[items.KEY] for item in found.client.items]
    assert len(keys) == MAX_ITEMS
    assert "first" in keys
    assert "closed" not in keys
    found.take(step(at(3), "opened", "another"))
    assert "first" not in [item[items.KEY] for item in found.client.items]


def test_what_is_closed_is_forgotten_after_a_week_and_what_is_open_after_a_quarter():
    found = desk(LATE_COMPLAINT)
    found.take(step(at(1), "opened"), step(at(2), "resolved"), step(at(3), "opened", "K2"))
    found.take(login(at(8)))
    assert len(found.client.items) == 2
    found.take(login(at(10)))
    assert [item[items.KEY] for item in found.client.items] == ["K2"]
    found.take(login(at(3) + 91 * DAY_MS))
    assert found.client.items == []


# -- through storage, sweeps and other rules ---------------------------------------------------------------------------


def test_they_are_stored_and_what_was_seen_stays_seen():
    found = desk(LATE_COMPLAINT)
    found.take(step(at(1), "opened"))
    for _ in range(2):
        packed = pack(found.plan.layout, found.client)
        found.states["c1"] = unpack(found.plan.layout, packed)
        assert pack(found.plan.layout, found.client) == packed
        seen = fired(found.tick_all(at(20)), "late")
    assert seen == []


def test_a_rule_that_is_new_hears_of_what_is_overdue_already():
    found = desk(rule("hello"))
    found.take(step(at(1), "opened"))
    plan = plan_of(LATE_COMPLAINT)
    found.states["c1"] = unpack(plan.layout, pack(found.plan.layout, found.client))
    found.plan = plan
    assert [key for _, key in fired(found.sweep(at(9)), "late")] == ["K1"]
    assert fired(found.sweep(at(10)), "late") == []


def test_a_rule_that_was_renamed_goes_on_with_its_items():
    found = desk(ASK, CHASE)
    found.take(login(at(1)))
    chase = rule("chase", unanswered="{of: ask-all, for: 3d}", parameters=NAMED, **TEAM)
    plan = plan_of(rule("ask-all", kind="survey", was="[ask]"), chase)
    found.states["c1"] = unpack(plan.layout, pack(found.plan.layout, found.client))
    found.plan = plan
    found.client.due_ms = at(2)
    found.tick(at(2))
    assert len(fired(found.tick_all(at(30)), "chase")) == 1


# -- what people see ---------------------------------------------------------------------------------------------------


def test_engage_client_and_explain_show_them():
    found = desk(LATE_COMPLAINT)
    late = found.plan.rule_set.rules[0]
    assert standing(found.plan, late, found.client) == (
        "waits for an answer to complaint within 2 days: none is open without one, or each was seen already"
    )
    found.take(step(at(1), "opened", category="fees"))
    assert "K1, opened at 2026-02-17 12:00" in standing(found.plan, late, found.client)
    assert "due at 2026-02-19 12:00" in standing(found.plan, late, found.client)
    explained = Explainer(found.plan).explain(late, UNANSWERED, found.client, None, None)
    assert explained.standing == standing(found.plan, late, found.client)
    (shown,) = reading._private(found.client, {})["items"]
    assert shown == {
        "kind": "complaint", "id": "K1", "about": "fees", "state": "opened", "opened_at": "2026-02-17T04:00:00.000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("unanswered", "message"),
    [
        ("{of: complaints, for: 2d}", 'unanswered of no rule: "complaints"'),
        ("{of: nobody, for: 2d}", 'unanswered of no rule: "nobody"'),
        ("{of: hello, for: 2d}", 'nobody answers a message, as "hello" sends'),
        ("{of: complaint}", "missing key for"),
        ("{of: complaint, for: 1s}", None),
    ],
)
def test_what_is_wrong_with_one_is_told(unanswered, message):
    text = "rules:\n" + rule("hello", serves="listening") + rule("chase", unanswered=unanswered, **TEAM)
    problems = load({"features.yaml": f"features:\n{FEATURES}", "policy.yaml": FILES["policy.yaml"],
                     "tiers.yaml": "segments: []\n", "rules.yaml": text})  # fmt: skip
    assert isinstance(problems, tuple)
    if message:
        assert [problem.message.removeprefix('rule "chase": ') for problem in problems] == [message]


def test_hours_and_minutes_will_do():
    found = desk(rule("soon", unanswered="{of: complaint, for: 90m}", parameters=NAMED, **TEAM))
    found.take(step(at(1), "opened"))
    assert found.client.due_ms == at(1) + 90 * 60_000
    assert len(fired(found.tick(at(1) + 2 * HOUR_MS), "soon")) == 1
