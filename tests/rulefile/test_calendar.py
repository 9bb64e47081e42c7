"""calendar.yaml: what it answers, what it does not, what is wrong with it, and when its end is near."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from engine.core.client.sections import pack, unpack
from engine.core.contract.outbound import Outcome
from engine.core.decide.path import Due, Sweep, decide
from engine.core.firm_time import DAY_MS
from engine.core.plan.compile import compile_rule_set
from engine.core.plan.waking import digest_of
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.insight.rendering import in_short
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.stories.story import firm_time_ms
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from engine.rulefile.trial.run import run_tests
from engine.runtime.observe.metrics import Metrics
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import load as load_settings
from tests.core.making import TIERS, Desk, login, profile, rule, trade
from tests.rulefile.sample import good

CALENDAR = """\
calendar:
  title: An exchange
  first_day: 2026-01-01
  last_day: 2026-12-31
  holidays: [2026-01-01, 2026-10-01, 2026-10-02, 2026-12-31]
  closed: [2026-12-30]
  workdays: [2026-10-10]
  business_hours: ["09:00-11:30", "13:00-17:30"]
"""
FEATURES = """\
features:
  trades_7d: {source: trades, aggregate: count, window: 7d}
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
"""
DEFINE = """\
define:
  open: {is: is_trading_day(now)}
  shut: {is: not open}
  weight: {is: 2 if is_trading_day(now) else 1}
"""
DAILY = '{every: day, time: "09:00"}'
SENT, SILENT, UNKNOWN = {Outcome.SENT}, set(), {Outcome.DAY_UNKNOWN}


def files(when="True", calendar=CALENDAR, **occasion):
    occasion = occasion or {"at": DAILY}
    more = {"audience": "team", "kind": "task", "cooldown": "1m"} | occasion
    if "becomes" not in more:
        more["when"] = f"'{when}'"
    found = {
        "features.yaml": FEATURES,
        "tiers.yaml": TIERS,
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "definitions.yaml": DEFINE,
        "rules.yaml": "rules:\n" + rule("r", **more),
        "calendar.yaml": calendar,
    }
    if not calendar:
        del found["calendar.yaml"], found["definitions.yaml"]
    return found


def problems(given):
    found = load(given)
    return [] if not isinstance(found, tuple) else [str(problem) for problem in found]


def outcome(given, moment):
    """What becomes of the rule at a moment, of a client who came ten hours before."""
    plan = compile_rule_set(good(given))
    at_ms = firm_time_ms(moment)
    states = {}
    decide(plan, states, [profile(at_ms - 10 * 3_600_000)])
    decided = decide(plan, states, [Due("c1", at_ms)])
    return {Outcome(o) for (_, o), _ in decided.outcomes.items()}


@pytest.mark.parametrize(
    ("when", "thursday", "holiday", "closed", "made_up", "sunday", "unknown"),
    [
        ("is_trading_day(now)", SENT, SILENT, SILENT, SILENT, SILENT, UNKNOWN),
        ("not is_trading_day(now)", SILENT, SENT, SENT, SENT, SENT, UNKNOWN),
        ("is_working_day(now)", SENT, SILENT, SENT, SENT, SILENT, UNKNOWN),
        ("in_business_hours(now)", SENT, SILENT, SENT, SENT, SILENT, UNKNOWN),
        ("open", SENT, SILENT, SILENT, SILENT, SILENT, UNKNOWN),
        ("shut", SILENT, SENT, SENT, SENT, SENT, UNKNOWN),
        ("not (shut or trades_7d > 3)", SENT, SILENT, SILENT, SILENT, SILENT, UNKNOWN),
        ("weight == 1", SILENT, SENT, SENT, SENT, SENT, UNKNOWN),
        ("open and trades_7d > 3", SILENT, SILENT, SILENT, SILENT, SILENT, SILENT),
        ("is_trading_day(client.last_trade_at)", SILENT, SILENT, SILENT, SILENT, SILENT, SILENT),
    ],
)  # fmt: skip
def test_what_it_answers(when, thursday, holiday, closed, made_up, sunday, unknown):
    given = files(when)
    found = [
        outcome(given, f"{day} 09:00")
        for day in ("2026-06-11", "2026-10-01", "2026-12-30", "2026-10-10", "2026-10-11", "2027-03-01")
    ]
    assert found == [thursday, holiday, closed, made_up, sunday, unknown]


def test_it_is_asked_of_other_days_too():
    given = files("is_trading_day(now - days(200))")
    assert outcome(given, "2026-06-11 09:00") == UNKNOWN  # in 2025
    assert outcome(given, "2027-02-11 09:00") == SILENT  # of 2026-07-26, a Sunday
    assert outcome(given, "2027-02-12 09:00") == SENT


def test_a_day_before_its_first_is_as_unknown_as_one_after_its_last():
    for when in ("is_trading_day(now)", "not is_trading_day(now)"):
        assert outcome(files(when), "2025-12-31 09:00") == UNKNOWN


@pytest.mark.parametrize(
    ("time", "within"),
    [
        ("08:59", False), ("09:00", True), ("11:29", True), ("11:30", False), ("12:59", False), ("13:00", True),
        ("17:29", True), ("17:30", False),
    ],
)  # fmt: skip
def test_business_hours_begin_and_end_at_their_minute(time, within):
    given = files("in_business_hours(now)", on="logins")
    plan = compile_rule_set(good(given))
    decided = decide(plan, {}, [login(firm_time_ms(f"2026-06-11 {time}"))])
    assert (("r", Outcome.SENT) in decided.outcomes) is within


@pytest.mark.parametrize("every", ["trading_day", "working_day"])
def test_a_rule_that_is_due_on_its_days(every):
    """Through a holiday, a make-up day, the end; past it on every Monday to Friday, and never sent."""
    d = Desk(compile_rule_set(good(files(at=f'{{every: {every}, time: "09:00"}}'))))
    d.take(profile(firm_time_ms("2026-09-29 12:00")))
    sent = d.tick_all(firm_time_ms("2026-10-13 12:00"))
    extra = ["2026-10-10"] if every == "working_day" else []
    days = ["2026-09-30", *(f"2026-10-{n:02}" for n in (5, 6, 7, 8, 9)), *extra, "2026-10-12", "2026-10-13"]
    assert [record["time"] for record in sent] == [f"{day}T01:00:00.000Z" for day in days]
    d.tick_all(firm_time_ms("2026-12-31 23:00"))
    d.outcomes.clear()
    d.tick_all(firm_time_ms("2027-01-10 23:00"))  # the 1st is a Friday
    assert d.outcomes == [("r", Outcome.DAY_UNKNOWN)] * 6


def test_a_parameter_that_nobody_knows_stops_the_action():
    given = files(parameters="{open: is_trading_day(now)}", on="logins")
    plan = compile_rule_set(good(given))
    for day, expected in (("2026-06-11", Outcome.SENT), ("2027-06-11", Outcome.DAY_UNKNOWN)):
        assert ("r", expected) in decide(plan, {}, [login(firm_time_ms(f"{day} 09:00"))]).outcomes


def test_a_segment_holds_by_what_is_known_alone():
    given = files()
    given["tiers.yaml"] = TIERS + "segments:\n  - {id: idle, when: not is_trading_day(now)}\n"
    d = Desk(compile_rule_set(good(given)))
    for day, segment in (("2026-06-11", None), ("2026-10-01", "idle"), ("2027-10-03", None)):
        d.take(profile(firm_time_ms(f"{day} 12:00")))
        assert d.client.segment == segment


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("then", []), ("without", [])],
)
def test_a_step_of_which_nobody_knows_starts_and_proves_nothing(kind, expected):
    step = "{on: trades, when: not is_trading_day(now)}"
    sequence = f"{{first: {{on: logins}}, {kind}: {step}, within: 1d}}"
    d = Desk(compile_rule_set(good(files(sequence=sequence))))
    start = firm_time_ms("2027-06-11 09:00")
    d.take(login(start), trade(start + 1000))
    d.tick_all(start + 3 * DAY_MS)
    assert d.outcomes == expected


def test_a_wait_that_waits_for_a_day_is_woken_though_nobody_knows_it():
    """What keeps a client from being woken must not rest on an answer that there is not."""
    given = files(at=DAILY, when="is_trading_day(client.last_login_at)")
    plan = compile_rule_set(good(given))
    d = Desk(plan)
    d.take(login(firm_time_ms("2027-06-11 08:00")))
    d.tick_all(firm_time_ms("2027-06-11 10:00"))
    assert d.outcomes == [("r", Outcome.DAY_UNKNOWN)]


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2026-12-31\n", "2025-12-31\n", "lies before 2026-01-01"),
        ("2026-12-31\n", "2099-12-31\n", "a long calendar"),
        ("2026-12-31\n", "soon\n", 'not a day: "soon"'),
        ("[2026-01-01,", "[2026-02-30,", 'not a day: "2026-02-30"'),
        ("[2026-01-01,", "[2027-01-01,", "2027-01-01 lies outside of the calendar; it covers 2026-01-01 to 2026-12-31"),
        ("[2026-01-01,", "[2026-10-01,", "2026-10-01 twice; it is one of holidays already: keep one"),
        ("closed: [2026-12-30]", "closed: [2026-10-02]", "2026-10-02 twice"),
        ("workdays: [2026-10-10]", "workdays: [2026-10-12]", "2026-10-12 is no Saturday or Sunday"),
        ("09:00-11:30", "9-11", 'not a span of hours: "9-11"; write it as "09:00-17:30"'),
        ("09:00-11:30", "11:30-09:00", "not a span of hours"),
        ("  title: An exchange\n", "", "missing key title"),
        ("holidays", "holiday", 'unknown key "holiday"; did you mean "holidays"?'),
    ],
)
def test_a_fault_is_said_at_its_place_and_no_rule_is_blamed(old, new, said):
    found = problems(files("is_trading_day(now) and in_business_hours(now)", CALENDAR.replace(old, new)))
    assert found
    assert all(each.startswith("calendar.yaml:") for each in found)
    assert said in found[0]


def test_what_asks_without_a_calendar_is_refused():
    (said,) = problems(files("is_trading_day(now)", calendar=""))
    assert "is_trading_day, and there is no calendar.yaml; add it" in said
    (said,) = problems(files(calendar="", at='{every: trading_day, time: "09:00"}'))
    assert "every: trading_day, and there is no calendar.yaml" in said
    hours = CALENDAR[: CALENDAR.index("  business_hours")]
    (said,) = problems(files("in_business_hours(now)", hours))
    assert "calendar.yaml has no business_hours" in said
    given = files()
    events = "events:\n  stay: {title: A stay, owner: wealth, fields: {day: date}}\n"
    given["features.yaml"] += "  n: {source: stay, aggregate: count, where: is_trading_day(stay.day), window: 7d}\n"
    (said,) = problems(given | {"events.yaml": events})
    assert "is_trading_day in a feature; ask the calendar in a rule" in said


def test_becomes_does_not_ask_for_now():
    (said,) = problems(files(becomes="is_trading_day(now)"))
    assert '"now" changes all the time' in said


def test_a_file_of_rules_of_that_name_that_was_published_is_read_as_before():
    given = files(calendar="")
    given["calendar.yaml"] = given.pop("rules.yaml")
    assert [rule.id for rule in load(given, published=True).rules] == ["r"]
    assert problems(given)


def test_names_that_were_free_stay_so_for_what_was_published():
    given = files(calendar="")
    given["definitions.yaml"] = "define: {in_business_hours: {is: hour(now) >= 9}}\n"
    assert not isinstance(load(given, published=True), tuple)
    assert "a word of the rule language" in problems(given)[0]


# -- its end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("today", "codes"), [("2026-09-30", []), ("2026-10-02", ["L307"]), ("2027-02-01", ["L307"])])
def test_lint_says_when_it_ends(today, codes):
    found = [f for f in lint(good(files()), None, firm_time_ms(today)) if f.code in ("L307", "L308")]
    assert [f.code for f in found] == codes
    assert [f"{f.file}:{f.line}" for f in found] == ["calendar.yaml:4"] * len(codes)


@pytest.mark.parametrize(
    ("today", "left", "warnings"),
    [
        ("2026-10-31", 61, []),
        ("2026-11-01", 60, ["calendar.yaml ends on 2026-12-31, in 60 days: add the next days, and publish"]),
    ],
)
def test_health_and_the_metric_say_so(today, left, warnings):
    clients = SimpleNamespace(wall_ms=lambda: firm_time_ms(f"{today} 12:00"))
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    rule_sets = RuleSets(load_settings(), clients, metrics)
    rule_sets._plan = compile_rule_set(good(files()))
    metrics.lists_end(rule_sets.days_left())
    assert registry.get_sample_value("engage_list_days_left", {"list": "calendar.yaml"}) == left
    assert rule_sets.warnings() == warnings


# -- a change of it ----------------------------------------------------------------------------------------------------

LONGER = CALENDAR.replace("2026-12-31\n", "2027-12-31\n").replace("2026-10-02,", "2026-10-02, 2027-01-01,")


def test_diff_says_what_changed():
    before, after, none = good(files()), good(files(calendar=LONGER)), good(files(calendar=""))
    assert [str(d) for d in differences(before, after) if d.what == "calendar"] == [
        "calendar:\n  last day: 2026-12-31 becomes 2027-12-31\n  holidays: 2027-01-01 added"
    ]
    assert "calendar: added\n  An exchange, 2026-01-01 to 2026-12-31" in map(str, differences(none, before))
    assert "calendar: removed\n  An exchange, 2026-01-01 to 2026-12-31" in map(str, differences(before, none))
    assert differences(before, good(files())) == []


TIMER = {"at": '{every: trading_day, time: "09:00"}'}


@pytest.mark.parametrize(
    ("given", "sweeps"),
    [
        (TIMER, True),
        ({"at": DAILY, "when": "is_trading_day(now)"}, True),
        ({"on": "logins", "when": "is_trading_day(now)"}, False),
    ],
)
def test_clients_are_swept_where_it_can_move_their_next_time(given, sweeps):
    given = dict(given)
    when = given.pop("when", "True")
    sets = [
        good({k: v for k, v in files(when, c, **given).items() if k != "definitions.yaml"}) for c in (CALENDAR, LONGER)
    ]
    assert (digest_of(sets[0]) != digest_of(sets[1])) is sweeps
    assert bool([said for said in effects(*sets) if "every client is evaluated once" in said]) is sweeps


def test_a_sweep_moves_the_next_time_of_clients_who_do_nothing():
    """A day that was a holiday is a trading day by the next calendar; then it is a holiday again."""
    other = CALENDAR.replace("2026-10-01, 2026-10-02, ", "")
    plans = [compile_rule_set(good(files(calendar=c, **TIMER))) for c in (CALENDAR, other)]
    d = Desk(plans[0])
    evening = firm_time_ms("2026-09-30 12:00")
    d.take(profile(evening))
    assert d.client.due_ms == firm_time_ms("2026-10-05 09:00")
    d.plan = plans[1]
    d.states = {"c1": restored(plans[0], plans[1], d.client)}
    d.take(Sweep("c1", evening + 1000))
    assert d.client.due_ms == firm_time_ms("2026-10-01 09:00")
    d.plan = plans[0]
    d.states = {"c1": restored(plans[1], plans[0], d.client)}
    d.take(Sweep("c1", evening + 2000))
    d.tick_all(firm_time_ms("2026-10-02 23:00"))
    assert d.outcomes == []


def restored(old, new, client):
    return unpack(new.layout, pack(old.layout, client))


@pytest.mark.parametrize("when", ["is_trading_day(now)", "not is_trading_day(now)"])
def test_explain_says_that_nobody_knows(when):
    plan = compile_rule_set(good(files(when, on="logins")))
    d = Desk(plan)
    item = login(firm_time_ms("2027-03-01 09:00"))
    d.take(item)
    found = Explainer(plan).explain(plan.rule_set.rules[0], on("logins"), d.client, item[1], None)
    assert "the calendar, says nothing of the day in question" in in_short(found)


def test_tests_in_rule_files_can_be_of_any_day():
    given = files("is_trading_day(now)", on="logins")
    given["rules.yaml"] += """\
    tests:
      - {name: open, at: 2026-06-11 10:00, event: {logins: {}}, expect: fires}
      - {name: holiday, at: 2026-10-01 10:00, event: {logins: {}}, expect: {not: condition}}
      - {name: unknown, at: 2027-10-01 10:00, event: {logins: {}}, expect: {not: day_unknown}}
"""
    assert [result.failure for result in run_tests(good(given)).results] == ["", "", ""]
