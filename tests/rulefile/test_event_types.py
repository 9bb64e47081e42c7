"""events.yaml: what it declares, and what is said of each fault in it."""

import pytest

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.event_types import MAX_TYPES, event_types_of, reserved
from engine.rulefile.read.load import load
from engine.rulefile.trial.run import run_tests
from tests.rulefile.declaring import EVENTS, FEATURES, FILES, RULES, rule_set_of


def problems(**changed):
    found = load(FILES | {f"{name}.yaml": text for name, text in changed.items()})
    assert not isinstance(found, RuleSet)
    return [(problem.file, problem.message, problem.remedy) for problem in found]


def messages(**changed):
    return [message for _, message, _ in problems(**changed)]


def test_the_types_and_what_uses_them_are_read():
    found = rule_set_of()
    assert [event_type.name for event_type in found.event_types] == ["branch_visit", "ipo_allotment"]
    shares = next(field for field in found.event_types[1].fields if field.name == "shares")
    assert (shares.kind, shares.unit, shares.required, shares.personal) == ("number", "shares", True, False)
    assert {rule.id for rule in found.rules} == {"congratulate", "no-more-luck", "payment-due"}
    assert event_types_of(dict(found.files)) == found.event_types


def test_tests_of_rules_give_them_and_pass():
    report = run_tests(rule_set_of())
    assert [result.failure for result in report.results] == [""] * 5


def test_a_test_that_does_not_hold_fails():
    wrong = RULES.replace("amount: 10_000.50, in_all: 500", "amount: 10_000.50, in_all: 400")
    assert [bool(result.failure) for result in run_tests(rule_set_of(rules=wrong)).results].count(True) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("branch_visit:", "trades:", '"trades" has a meaning of its own in rules'),
        ("branch_visit:", "login:", '"login" has a meaning of its own in rules'),
        ("branch_visit:", "complaints:", '"complaints" has a meaning of its own in rules'),
        ("branch_visit:", "after_sales:", '"after_sales" has a meaning of its own in rules'),
        ("branch_visit:", "alerts:", '"alerts" has a meaning of its own in rules'),
        ("branch_visit:", "Branch-Visit:", 'not a name: "Branch-Visit"'),
        ("branch: id", "branch: ident", 'unknown value "ident"'),
        ("branch: id", "time: time", '"time" has a meaning of its own in events'),
        ("branch: id", "model_dump: id", '"model_dump" has a meaning of its own in events'),
        ("branch: id", "class: id", '"class" has a meaning of its own in events'),
        ("branch: id", "paid: money", '"paid" is money'),
        ("branch: id", "paid_fen: money", '"paid_fen" is money as records have it'),
        ("branch: id", "paid_cny: number", '"paid_cny" is no money'),
        ("branch: id", "branch: {kind: id, unit: days}", "unit of a field of kind id"),
        ("branch: id", "branch: {kind: enum}", "an enum without values"),
        ("branch: id", "branch: {kind: enum, values: [a, a]}", "a value twice"),
        ("branch: id", "branch: {kind: enum, values: []}", "empty list"),
        ("branch: id", "branch: {kind: enum, values: [~]}", "~ without quotes, which other programs read as nothing"),
        ("branch: id", "minutes: {kind: number, least: 5, most: 4}", "minutes can have no value"),
        ("branch: id", "visits: {kind: number, unit: count, most: 4.5}", "a number of count is whole"),
        ("branch: id", "branch: {kind: id, needed: true}", 'unknown key "needed"'),
        ("    owner: wealth\n", "", "missing key owner"),
        ("branch_visit:", "ipo_allotment:", 'key "ipo_allotment" twice'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_once(old, new, said):
    assert old in EVENTS
    assert messages(events=EVENTS.replace(old, new)) == [said]


def test_a_fault_in_a_field_is_not_blamed_on_what_uses_it():
    wrong = EVENTS.replace("shares: {kind: number, unit: shares,", "shares: {kind: number, unit: share,")
    assert messages(events=wrong) == ['unknown value "share"']


def test_a_file_that_cannot_be_read_is_not_blamed_on_what_uses_it():
    assert {file for file, *_ in problems(events="events:\n\t- x\n")} == {"events.yaml"}
    assert {file for file, *_ in problems(events="event: {}\n")} == {"events.yaml"}


def test_what_is_not_declared_is_named_where_it_is_used():
    found = problems(events=EVENTS.replace("ipo_allotment:", "ipo_alotment:"))
    assert {file for file, *_ in found} == {"features.yaml", "definitions.yaml", "rules.yaml"}
    assert ("features.yaml", 'unknown value "ipo_allotment"') in [(file, message) for file, message, _ in found]
    assert any('did you mean "ipo_alotment"?' in remedy for *_, remedy in found)


def test_a_removed_field_is_named_where_it_is_used():
    gone = "      lots: {kind: number, unit: count, most: 500}\n"
    rules = RULES.replace("ipo_allotment.shares >= 100 and", "ipo_allotment.lots >= 1 and")
    assert messages(rules=rules, events=EVENTS.replace(gone, "")) == ['unknown name "ipo_allotment.lots"']
    rule_set_of(rules=rules)


def test_a_file_of_events_lists_events():
    assert messages(events="rules: []\n") == ['unknown key "rules"']


def test_a_published_file_of_rules_by_that_name_is_read_as_one():
    texts = {name: text for name, text in FILES.items() if name in ("tiers.yaml", "policy.yaml")}
    texts |= {"features.yaml": "features:\n", "tiers.yaml": "{}\n", "events.yaml": "rules: []\n"}
    assert isinstance(load(texts, published=True), RuleSet)
    assert not isinstance(load(texts), RuleSet)


def test_there_are_not_too_many():
    many = "".join(f"  t{n}: {{title: T, owner: o, fields: {{}}}}\n" for n in range(MAX_TYPES + 1))
    assert messages(events=EVENTS + many)[0] == f"{MAX_TYPES + 3} event types"


def test_nothing_that_rules_name_is_free_for_a_type():
    assert {"trades", "trade", "profile", "client", "now", "tier_change", "maturity", "timeout", "timer", "events",
            "rerouted", "dead_letters", "alerts", "days", "receipts", "items", "at", "every"} <= reserved()  # fmt: skip


def test_lint_knows_the_bounds_of_declared_fields():
    never = RULES.replace("ipo_allotment.shares >= 100 and", "ipo_allotment.lots > 600 and")
    found = [finding.message for finding in lint(rule_set_of(rules=never)) if finding.code == "L101"]
    assert found == ["can never hold: `ipo_allotment.lots > 600`, as ipo_allotment.lots is from 0 to 500"]


def test_enums_are_checked():
    wrong = FEATURES.replace('!= "other"', '!= "sme"')
    assert messages(features=wrong) == ['ipo_allotment.board is never "sme"']
