"""What is sent to staff is seen through: reminders, escalations, overdue, its end; on a clock that can stand."""

import itertools
import json

import pytest

from engine.core.client.items import MAX_STEPS, STEPS
from engine.core.client.sections import pack, unpack
from engine.core.contract.outbound import CareStep, is_action, is_retraction
from engine.core.decide.path import Sweep
from engine.core.rules.meaning import changes
from engine.insight.explain import Explainer
from engine.insight.preview import lines, preview
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule, trade
from tests.core.test_answers import came
from tests.core.test_corrections import correction
from tests.core.test_items import TEAM, step
from tests.rulefile.test_teams import TEAMS

OTHERS = (("teams.yaml", TEAMS),)
CALENDAR = """\
calendar:
  title: Exchange
  first_day: 2026-01-01
  last_day: 2026-12-31
  holidays: [2026-02-18, 2026-02-19]
  workdays: [2026-02-28]
  business_hours: ["09:00-12:00", "13:00-17:00"]
"""
ESCALATE = "escalate: [{after: 4h, to: team}, {after: 2d, to: head}]"
CARE = f"{{remind: {{after: 2h, every: 1h, times: 2}}, overdue: 8h, {ESCALATE}}}"
WARN = rule("warn", kind="alert", audience="advisor", priority=90, cooldown="30d", care=CARE)


def desk(*rules, **parts):
    found = Desk(plan_of(*rules, others=OTHERS, **parts))
    found.take(profile(at(0, 8), advisor_id="A-1"))
    return found


def steps(actions):
    """Of what followed an action: (what, to whom, hours since it was sent)."""
    return [(a["step"], a["to"], a["age_s"] / 3600) for a in actions if "step" in a]


def sent(found, event):
    (action,) = [a for a in found.take(event) if a.get("rule_id") == "warn"]
    return action


ALL = [
    ("reminded", "advisor", 2),
    ("reminded", "advisor", 3),
    ("escalated", "team", 4),
    ("overdue", "team", 8),
    ("escalated", "head", 48),
]


def test_each_step_comes_once_at_its_own_time_and_says_what_it_follows():
    found = desk(WARN)
    action = sent(found, login(at(1)))
    told = found.tick_all(at(80))
    assert steps(told) == ALL
    assert [one["number"] for one in told] == [1, 2, 3, 4, 5]
    assert {one["follows"] for one in told} == {action["id"]}
    assert {one["topic"] for one in told} == {"alerts"}
    assert [one["time"] for one in told][-1] == "2026-02-19T04:00:00.000Z"
    assert (told[-1]["head"], told[-1]["owner"], told[-1]["advisor_id"]) == ("li-na", "wealth", "A-1")
    assert len({one["id"] for one in told}) == 5
    message = found.messages[-1]
    assert dict(message.headers)["ce_follows"] == action["id"].encode()
    assert dict(message.headers)["ce_type"] == b"engage.care.v1"
    assert not is_action(message.headers)
    assert not is_retraction(message.headers)
    CareStep.model_validate_json(message.value)


def test_its_record_has_the_fields_of_its_model_and_the_teams_headers():
    found = desk(WARN)
    sent(found, login(at(1)))
    found.tick_all(at(80))
    record = json.loads(found.messages[-1].value)
    assert list(CareStep.model_validate(record).model_dump(by_alias=True)) == list(record)
    assert dict(found.messages[-1].headers)["desk"] == b"07"


@pytest.mark.parametrize(
    ("topic", "fields", "after"),
    [
        ("outcomes", {"status": "accepted"}, []),
        ("outcomes", {"status": "done"}, []),
        ("outcomes", {"status": "declined"}, []),
        ("outcomes", {"status": "not_reached"}, ALL[2:]),
        ("receipts", {"status": "opened"}, ALL[2:]),
    ],
)
def test_what_stops_it(topic, fields, after):
    found = desk(WARN)
    action = sent(found, login(at(1)))
    assert steps(found.tick_all(at(1, 15.5))) == ALL[:2]
    found.take(came(topic, at(1, 15.5), action_id=action["id"], **fields))
    assert steps(found.tick_all(at(80))) == after


def test_until_done_goes_on_though_somebody_took_it():
    found = desk(WARN.replace("care: {", "care: {until: done, "))
    action = sent(found, login(at(1)))
    found.take(came("outcomes", at(1, 13), action_id=action["id"], status="accepted"))
    assert steps(found.tick_all(at(2))) == ALL[:4]
    found.take(came("outcomes", at(2, 13), action_id=action["id"], status="done"))
    assert steps(found.tick_all(at(80))) == []


def test_its_clock_stands_while_it_waits_for_the_client():
    found = desk(WARN)
    action = sent(found, login(at(1)))
    found.take(came("outcomes", at(1, 13), action_id=action["id"], status="waiting_for_client"))
    assert found.tick_all(at(3)) == []
    found.take(came("outcomes", at(3, 13), action_id=action["id"], status="client_answered"))
    told = found.tick_all(at(80))
    assert steps(told) == [(what, to, hours + 48) for what, to, hours in ALL]
    assert [one["clock_s"] for one in told] == [hours * 3600 for _, _, hours in ALL]


def test_a_pause_that_is_heard_of_late_counts_from_when_it_began():
    found = desk(WARN)
    action = sent(found, login(at(1)))
    found.take(login(at(1, 13.5)))
    found.take(came("outcomes", at(1, 13), action_id=action["id"], status="waiting_for_client"))
    found.take(came("outcomes", at(1, 16), action_id=action["id"], status="client_answered"))
    assert steps(found.tick_all(at(1, 18))) == [("reminded", "advisor", 5), ("reminded", "advisor", 6)]


def test_in_business_hours_a_day_is_a_working_day():
    """Sent on a Tuesday at 16:00: Wednesday and Thursday are holidays."""
    care = "{hours: business, remind: {after: 2h}, escalate: [{after: 1d, to: head}]}"
    found = desk(WARN.replace(CARE, care), calendar=CALENDAR)
    sent(found, login(at(1, 16)))
    told = found.tick_all(at(80))
    assert [(one["step"], one["time"], one["clock_s"] / 3600) for one in told] == [
        ("reminded", "2026-02-20T02:00:00.000Z", 2),
        ("escalated", "2026-02-20T08:00:00.000Z", 7),
    ]


def test_it_ends_with_the_condition_of_a_rule_that_becomes_true():
    poor = rule("warn", becomes="client.assets_cny < 100", care=CARE, **TEAM | {"kind": "alert"})
    found = desk(poor)
    found.take(balance(at(1), 50))
    assert steps(found.tick_all(at(1, 17))) == [(what, "team", hours) for what, _, hours in ALL[:3]]
    told = found.take(balance(at(1, 18), 500))
    assert steps(told) == [("ended", "team", 6)]
    assert told[0]["cause"]["type"] == "balances"
    assert steps(found.tick_all(at(80))) == []
    assert found.client.items[0][4] == "n"


def test_it_ends_when_its_rule_says_so():
    found = desk(WARN.replace("care: {", "care: {ends_when: client.cash_cny >= 100, "))
    action = sent(found, login(at(1)))
    assert steps(found.take(balance(at(1, 13), 500, cash_fen=100_00))) == [("ended", "advisor", 1)]
    found.take(came("outcomes", at(1, 14), action_id=action["id"], status="accepted"))  # too late, and no second end
    assert steps(found.take(login(at(1, 15)))) == []
    assert steps(found.tick_all(at(80))) == []


LATE = rule(
    "late", unanswered="{of: complaint, for: 2h}", care="{escalate: [{after: 4h, to: head}]}", cooldown="1m",
    **TEAM | {"kind": "alert"},
)  # fmt: skip


def test_it_ends_with_what_was_waited_for():
    found = desk(LATE)
    found.take(step(at(1), "opened"))
    assert [a["rule_id"] for a in found.tick_all(at(1, 15))] == ["late"]
    assert steps(found.take(step(at(1, 16), "answered"))) == [("ended", "team", 2)]
    assert steps(found.tick_all(at(80))) == []


def test_it_stands_while_what_it_is_about_waits_for_the_client():
    found = desk(LATE)
    found.take(step(at(1), "opened"))
    found.tick_all(at(1, 15))
    found.take(step(at(1, 15), "waiting_for_client"))
    assert found.tick_all(at(5)) == []
    found.take(step(at(5), "client_answered"))
    (told,) = found.tick_all(at(80))
    assert (told["step"], told["to"], told["clock_s"]) == ("escalated", "head", 4 * 3600)


def test_rules_hear_of_the_steps():
    heard = rule("heard", on="item", when='item.step in ("overdue", "escalated", "reminded")', cooldown="1m", **TEAM)
    found = desk(WARN, heard.replace("description", "parameters: {step: item.step, of: item.about}\n    description"))
    sent(found, login(at(1)))
    told = [a["parameters"] for a in found.tick_all(at(80)) if a.get("rule_id") == "heard"]
    assert told == [{"step": what, "of": "warn"} for what, _, _ in ALL]


def test_work_for_the_advisor_of_a_client_without_one_is_the_teams():
    found = Desk(plan_of(WARN, others=OTHERS))
    found.take(profile(at(0)), login(at(1)))
    assert found.tick(at(1, 15))[0]["to"] == "team"


def test_what_was_retracted_is_not_seen_through():
    large = rule("warn", on="trades", kind="alert", audience="team", care=CARE, cooldown="1m")
    found = desk(large)
    traded = trade(at(1), 900)
    found.take(traded)
    found.take(correction(at(1, 13), traded))
    assert steps(found.tick_all(at(80))) == []


def test_a_state_on_its_way_through_redis_goes_on():
    found, other = desk(WARN), desk(WARN)
    for one in (found, other):
        sent(one, login(at(1)))
        one.tick_all(at(1, 15.5))
    other.states["c1"] = unpack(other.plan.layout, pack(other.plan.layout, other.client))
    assert steps(found.tick_all(at(80))) == steps(other.tick_all(at(80))) == ALL[2:]


def test_an_edit_counts_for_what_is_open_and_no_step_comes_twice():
    found = desk(WARN)
    sent(found, login(at(1)))
    assert steps(found.tick_all(at(1, 16.5))) == ALL[:3]
    edited = WARN.replace("{after: 4h, to: team}", "{after: 5h, to: team}").replace("{after: 2d", "{after: 3h")
    found.plan = plan_of(edited, others=OTHERS)
    found.states["c1"] = unpack(found.plan.layout, pack(found.plan.layout, found.client))
    assert steps(found.take(Sweep("c1", at(1, 16.75)))) == [("escalated", "head", 4.75)]  # it is due already
    assert steps(found.tick_all(at(80))) == [("overdue", "head", 8)]
    assert changes(plan_of(WARN, others=OTHERS).rule_set, found.plan.rule_set).changed == ("warn",)


def test_explain_says_what_it_had_and_what_comes_next():
    found = desk(WARN)
    action = sent(found, login(at(1)))
    found.tick_all(at(1, 15.5))
    (warn,) = found.plan.rule_set.rules
    (trigger,) = warn.triggers
    told = Explainer(found.plan).explain(warn, trigger, found.client, None, None)
    assert told.standing == (
        f"{action['id']} is opened: had reminder 1, reminder 2; team at 2026-02-17 16:00, overdue at "
        "2026-02-17 20:00, head at 2026-02-19 12:00"
    )
    found.take(came("outcomes", at(1, 15.75), action_id=action["id"], status="waiting_for_client"))
    told = Explainer(found.plan).explain(warn, trigger, found.client, None, None)
    assert told.standing == f"{action['id']} is waiting for client: had reminder 1, reminder 2; its clock stands"


def test_preview_shows_them():
    found = desk(WARN)
    sent(found, login(at(1)))
    told = list(lines(preview(found.plan, found.client, at(1), at(4))))
    assert "  2026-02-17 14:00  reminded       warn (T)  alert for advisor A-1" in told
    assert "  2026-02-19 12:00  escalated      warn (T)  alert for li-na" in told


def test_what_has_many_steps_forgets_pauses_and_no_time():
    found = desk(WARN)
    action = sent(found, login(at(1)))
    for n in range(MAX_STEPS):
        status = ("waiting_for_client", "client_answered")[n % 2]
        found.take(came("outcomes", at(1, 12.5 + n / 100), action_id=action["id"], status=status))
    assert len(found.client.items[0][STEPS]) == MAX_STEPS
    told = found.tick_all(at(80))
    assert [one["step"] for one in told] == [what for what, _, _ in ALL]
    assert 2 < told[0]["age_s"] / 3600 < 2 + MAX_STEPS / 200


# -- clocks of complaints ----------------------------------------------------------------------------------------------

BY = "{critical: 1h, high: 4h, otherwise: 1d}"


def clock(said):
    return rule("late", unanswered=f"{{of: complaint, {said}}}", cooldown="1m", **TEAM)


def due(found, until):
    return [a["time"][5:16] for a in found.tick_all(until) if a.get("rule_id") == "late"]


@pytest.mark.parametrize(("severity", "when"), [("critical", "05:00"), ("high", "08:00"), ("low", "04:00")])
def test_a_clock_by_severity(severity, when):
    found = desk(clock(f"for: {BY}"))
    found.take(step(at(1), "opened", severity=severity))
    assert due(found, at(30)) == [f"02-{18 if severity == 'low' else 17}T{when}"]


def test_the_severity_that_was_said_last_counts_in_any_order():
    for first, second in itertools.permutations((("opened", 12, "low"), ("acknowledged", 12.5, "critical"))):
        found = desk(clock(f"for: {BY}"))
        for status, hour, severity in (first, second):
            found.take(step(at(1, hour), status, severity=severity))
        found.take(login(at(1, 12.75)))
        assert due(found, at(30)) == ["02-17T05:00"]


@pytest.mark.parametrize(
    ("until", "stops"),
    [
        ("acknowledged", {"acknowledged", "waiting_for_client", "answered", "resolved", "withdrawn"}),
        ("answered", {"waiting_for_client", "answered", "resolved", "withdrawn"}),
        ("closed", {"waiting_for_client", "resolved", "withdrawn"}),
    ],
)
def test_what_each_clock_waits_for(until, stops):
    for status in ("acknowledged", "waiting_for_client", "answered", "resolved", "withdrawn", "client_answered"):
        found = desk(clock(f"for: 2d, until: {until}"))
        found.take(step(at(1), "opened"), step(at(2), status))
        assert due(found, at(30)) == ([] if status in stops else ["02-19T04:00"]), status


@pytest.mark.parametrize(("reopened", "when"), [("begins_anew", "02-28T04:00"), ("goes_on", "02-27T04:00")])
def test_opened_again_its_clock_begins_anew_or_goes_on(reopened, when):
    found = desk(clock(f"for: 2d, reopened: {reopened}"))
    found.take(step(at(1), "opened"), step(at(2), "resolved"), step(at(10), "reopened"))
    assert due(found, at(30)) == [when]


def test_a_clock_that_had_run_out_is_due_at_once_when_it_goes_on():
    found = desk(clock("for: 2d, reopened: goes_on"))
    found.take(step(at(1), "opened"))
    assert due(found, at(4)) == ["02-19T04:00"]
    found.take(step(at(5), "answered"), step(at(6), "reopened"))
    assert due(found, at(30)) == ["02-22T04:00"]


def test_as_before_where_nothing_of_it_is_said():
    """The clock begins with the latest opening; an acknowledgement is no answer."""
    found = desk(clock("for: 2d"))
    found.take(step(at(1), "opened"), step(at(1, 13), "acknowledged"), step(at(2), "reopened"))
    assert due(found, at(30)) == ["02-20T04:00"]
    assert found.client.items[0][4] == "o"


def test_over_holidays():
    found = desk(clock("for: 2d, hours: business"), calendar=CALENDAR)
    found.take(step(at(1, 16), "opened"))  # a Tuesday; Wednesday and Thursday are holidays
    assert due(found, at(30)) == ["02-23T08:00"]


def test_a_severity_is_asked_in_conditions():
    found = desk(clock("for: 1h").replace("when: client.days_known >= 0", 'when: item.severity == "critical"'))
    found.take(step(at(1), "opened", "K1", severity="low"), step(at(1), "opened", "K2", severity="critical"))
    assert len(due(found, at(30))) == 1
