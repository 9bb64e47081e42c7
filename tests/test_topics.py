"""A further topic is declared in one place, and everything knows it: what producers, rules and readers see of it."""

import json
from math import inf
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Event
from engine.core.contract.message import rfc3339
from engine.core.contract.topic import Asked, Topic
from engine.core.contract.topics import TOPICS, inbound_topics, intake_topics, ranks, sources
from engine.core.plan.compile import compile_rule_set
from engine.core.reading.decode import Taken, decode
from engine.core.rules.occasion import on
from engine.core.rules.ruleset import RuleSet
from engine.demo.simulator import simulate
from engine.insight.explain import Explainer
from engine.publish import reference, schemas
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.trial.run import run_tests
from engine.runtime.protocol.intake import Merger, merge
from engine.runtime.redis import reading
from tests.core.making import Desk, at, login, plan_of, profile, rule, same_event
from tests.runtime.driving import ConsumerRecord, next_batch

MAXIMUM_MINUTES = 600
RANKS = {
    "profiles": 0,
    "balances": 1,
    "logins": 2,
    "trades": 3,
    "rerouted": 4,
    "events": 5,
    "receipts": 6,
    "outcomes": 7,
    "feedback": 8,
    "complaints": 9,
    "positions": 10,
    "overrides": 11,
    "corrections": 12,
    "assignment_answers": 13,
    "budget_answers": 14,
}
FILES = {
    "features.yaml": """\
features:
  visits_30d: {source: visits, aggregate: count, window: 30d}
  minutes_30d: {source: visits, aggregate: sum, field: minutes, where: 'visit.kind != "cash"', window: 30d}
  calls_since_visit: {source: logins, aggregate: count, since: {on: visits}}
""",
    "tiers.yaml": "segments:\n  - {id: visitor, when: visits_30d > 0}\n",
    "policy.yaml": "contact:\n  daily_cap: 2\n",
    "definitions.yaml": "define:\n  long_talk: {is: visit.minutes >= 45, on: visits}\n",
    "rules.yaml": """\
rules:
  - id: after-a-long-talk
    title: A long talk in a branch
    owner: wealth
    on: visits
    when: long_talk and visit.kind == "advice" and not client.days_since_visit < 7
    kind: task
    audience: team
    priority: 50
    cooldown: 1d
    expires: 1d
    template: talk
    serves: service
    parameters: {minutes: visit.minutes, visits: visits_30d, spent: minutes_30d}
    description: Somebody took an hour.
    tests:
      - name: a long talk
        event: {visits: {kind: advice, minutes: 50}}
        expect: {fires: {parameters: {minutes: 50, visits: 1, spent: 50}}}
      - name: a short one
        event: {visits: {kind: advice, minutes: 10}}
        expect: {not: condition}
      - name: the second in a week
        given: {history: [{at: -3d, visits: {kind: advice}}]}
        event: {visits: {kind: advice, minutes: 50}}
        expect: {not: condition}
  - id: no-visit
    title: No visit for a year
    owner: wealth
    silence: {of: visits, for: 90d}
    when: client.days_since_visit >= 90 and known(client.last_visit_at)
    kind: task
    audience: team
    priority: 40
    cooldown: 30d
    expires: 7d
    template: call
    serves: service
    description: They used to come.
    tests:
      - name: three months after the last
        event: {visits: {}}
        wait: 91d
        expect: fires
  - id: visit-then-trade
    title: A trade after a visit
    owner: wealth
    sequence: {first: {on: visits, when: visit.minutes > 20}, then: {on: trades}, within: 2d}
    when: minutes_30d > 20 and calls_since_visit == 0
    kind: task
    audience: team
    priority: 30
    cooldown: 1d
    expires: 1d
    template: thanks
    serves: service
    description: It was worth it.
    tests:
      - name: a trade on the next day
        given: {history: [{at: -1d, visits: {kind: advice, minutes: 30}}]}
        event: {trades: {}}
        expect: fires
""",
}


class Visit(Event):
    """A visit to a branch."""

    essential: ClassVar[frozenset[str]] = Event.essential | {"kind"}

    kind: Literal["advice", "cash", "opening"]
    minutes: Annotated[int, Field(ge=0, le=MAXIMUM_MINUTES)] | None = None


VISITS = Topic(
    name="visits",
    rank=100,
    singular="visit",
    called="visit",
    model=Visit,
    names=(Asked("kind", "what for"), Asked("minutes", "how long")),
    example={"kind": "advice", "minutes": 15},
)


@pytest.fixture(autouse=True)
def visits(monkeypatch):
    """The one place."""
    monkeypatch.setitem(TOPICS, "visits", VISITS)


def value(client_id="C1", **fields):
    return json.dumps({"event_id": "v1", "client_id": client_id, "time": 1_790_000_000_000, **fields}).encode()


def record(offset, timestamp):
    return SimpleNamespace(
        partition=0,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=0,
        key=b"C1",
        value=value(kind="cash"),
        headers=(),
    )


def test_it_comes_after_every_rank_that_was_given_before():
    assert ranks() == RANKS | {"visits": 100}
    assert intake_topics() == (*RANKS, "visits")
    read_alone = ("rerouted", "assignment_answers", "budget_answers")
    assert inbound_topics() == (*(name for name in RANKS if name not in read_alone), "visits")
    assert sources() == (
        "trades",
        "logins",
        "balances",
        "receipts",
        "outcomes",
        "feedback",
        "complaints",
        "positions",
        "overrides",
        "corrections",
        "visits",
    )


def test_no_rank_is_given_twice():
    assert len({*ranks().values()}) == len(ranks())


def test_it_is_merged_with_the_others():
    topics = ("visits", "trades", "rerouted")
    merged = [(topic, r.timestamp_ms) for topic, r in merge({t: [record(0, 5), record(1, 7)] for t in topics})]
    assert merged == [(topic, moment) for moment in (5, 7) for topic in ("trades", "rerouted", "visits")]
    merger = Merger(dict.fromkeys(intake_topics(), 0))
    merger.add("visits", [record(0, 5)], 1, 1)
    batch = merger.cut(10)
    assert batch is not None
    assert batch.ranges == {"visits": (0, 1)}


def test_its_records_become_events():
    taken = decode("visits", b"C1", value(kind="advice", minutes=45), 1_790_000_000_000)
    assert isinstance(taken, Taken)
    expected = Visit(event_id="v1", client_id="C1", time=1_790_000_000_000, kind="advice", minutes=45)
    assert same_event(taken, expected)
    assert decode("visits", b"C1", value(kind="tea"), 1_790_000_000_000).reason == "unknown_value"
    assert decode("visits", b"C1", value(), 1_790_000_000_000).reason == "missing_field"


def test_it_is_in_the_contract():
    files = schemas.generate()
    event = json.loads(files["event-visits.json"])
    assert event["title"] == "Visit"
    assert event["properties"]["kind"]["enum"] == ["advice", "cash", "opening"]
    said = json.loads(files["alerts.json"])["$defs"]["Cause"]["properties"]["type"]["description"]
    assert said == (
        "profiles, balances, logins, trades, receipts, outcomes, feedback, complaints, positions, overrides, "
        "corrections, assignment_answers, budget_answers, visits, the name of a type that events.yaml declares, or "
        "timer."
    )
    document = yaml.safe_load(files["asyncapi.yaml"])
    assert document["channels"]["visits"]["description"] == "A visit to a branch."
    assert document["components"]["schemas"]["VisitKind"]["enum"] == ["advice", "cash", "opening"]
    assert document["operations"]["receive-visits"]["action"] == "receive"


def test_it_is_in_the_schemas_of_rule_files():
    files = schemas.generate()
    for name in ("rules", "features", "definitions"):
        assert '"visits"' in files[f"rule-files/{name}.json"]
    rule = json.loads(files["rule-files/rules.json"])["properties"]["rules"]["items"]["properties"]
    assert "visits" in rule["on"]["anyOf"][0]["enum"]
    assert "visits" in rule["silence"]["properties"]["of"]["anyOf"][0]["enum"]
    happens = rule["tests"]["items"]["properties"]["event"]["properties"]["visits"]["properties"]
    assert set(happens) == {"kind", "minutes"}


def test_it_is_in_the_reference():
    text = reference.render()
    assert "A rule on visits, and on the second step of a sequence on them:" in text
    assert "| `visit.kind` | advice, cash, opening | what for |  |  |" in text
    assert "| `visit.minutes` | number | how long | yes |  |" in text
    assert "| `client.days_since_visit` | days | whole days since the last visit before now |" in text
    assert "`client.last_visit_at`" in text


def test_rules_features_and_declarations_are_read():
    rule_set = load(FILES)
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    assert [rule.id for rule in rule_set.rules] == ["after-a-long-talk", "no-visit", "visit-then-trade"]


def test_what_is_wrong_with_one_is_told():
    wrong = FILES["rules.yaml"].replace('visit.kind == "advice"', 'visit.kind == "advise"')
    wrong = wrong.replace(
        "{at: -1d, visits: {kind: advice, minutes: 30}}", "{at: -1d, visits: {kind: advice, hours: 1}}"
    )
    problems = load(FILES | {"rules.yaml": wrong})
    assert [problem.message for problem in problems] == [
        'visit.kind is never "advise"',
        'unknown key "hours"',
    ]


def test_what_can_never_hold_is_found_by_the_models_bounds():
    never = FILES["rules.yaml"].replace("long_talk and", "visit.minutes > 700 and")
    rule_set = load(FILES | {"rules.yaml": never})
    assert isinstance(rule_set, RuleSet)
    found = [finding.message for finding in lint(rule_set) if finding.code == "L101"]
    assert found == ["can never hold: `visit.minutes > 700`, as visit.minutes is from 0 to 600"]
    findings = [finding for finding in lint(load(FILES)) if finding.code.startswith("L1")]
    assert [finding.code for finding in findings] == [
        "L105",
        findings[-1].code,
    ]  # a `not` over days that can be missing
    found = [finding.message for finding in findings[1:]]
    assert found == ["`client.days_since_visit >= 90` always holds, as client.days_since_visit is 90 or more"]


def test_the_simulator_takes_its_name():
    assert next(simulate(1, 5, 0, 86_400_000, ["visits"]), None) is None
    with pytest.raises(ValueError, match="there are profiles, balances, "):
        next(simulate(1, 5, 0, 86_400_000, ["vists"]))


# -- deciding ----------------------------------------------------------------------------------------------------------


def desk():
    rule_set = load(FILES)
    assert isinstance(rule_set, RuleSet)
    return Desk(compile_rule_set(rule_set))


def visit(time_ms, **fields):
    about = {"event_id": f"v{time_ms}", "client_id": "c1", "time": time_ms}
    return "visits", Visit(**{"kind": "advice", "minutes": 15, **about, **fields})


def test_rules_on_it_fire_with_its_values():
    published = desk().take(profile(at(0)), visit(at(1)), visit(at(10), minutes=50))
    (task,) = [action for action in published if action["topic"] == "tasks"]
    assert (task["rule_id"], task["cause"]["type"]) == ("after-a-long-talk", "visits")
    assert task["parameters"] == {"minutes": 50, "visits": 2, "spent": 65}
    assert task["why"] == {
        "long_talk": True,
        "visit.minutes": 50,
        "visit.kind": "advice",
        "client.days_since_visit": 9,
    }


def test_the_tests_of_rules_on_it_pass():
    rule_set = load(FILES)
    assert isinstance(rule_set, RuleSet)
    report = run_tests(rule_set)
    assert [result.failure for result in report.results] == [""] * 5


def test_states_keep_it_and_states_from_before_it_are_read(monkeypatch):
    mine = desk()
    mine.take(profile(at(0)), visit(at(1), minutes=30))
    layout = mine.plan.layout
    packed = pack(layout, mine.client)
    again = unpack(layout, packed)
    assert again.activities["visits"].last_ms == at(1)
    assert pack(layout, again) == packed
    monkeypatch.delitem(TOPICS, "visits")
    older = Desk(plan_of(rule("hello")))
    older.take(profile(at(0)), login(at(1)))
    before = pack(older.plan.layout, older.client)
    monkeypatch.undo()
    monkeypatch.setitem(TOPICS, "visits", VISITS)
    client = unpack(layout, before)
    assert client.activities["visits"].last_ms is None
    assert client.activities["logins"].last_ms == at(1)
    mine.states["c1"] = client
    assert mine.take(visit(at(2), minutes=50)) != []


def test_explain_shows_its_values_and_what_would_flip_them():
    mine = desk()
    item = visit(at(1), minutes=30)
    mine.take(profile(at(0)), item)
    rule_ = mine.plan.rule_set.rules[0]
    found = Explainer(mine.plan).explain(rule_, on("visits"), mine.client, item[1], None)
    assert [str(flip) for flip in found.flips] == ["visit.minutes at least 45 (now 30)"]
    open_ = Explainer(mine.plan).explain(rule_, on("visits"), mine.client, None, None)
    assert open_.term.holds is None


def test_engage_client_says_when_the_last_one_was():
    mine = desk()
    mine.take(profile(at(0)), visit(at(1)))
    shown = reading._private(mine.client, {})
    assert shown["last_event"]["visits"] == rfc3339(at(1))
    public = dict.fromkeys(PUBLIC_FIELDS)
    assert f"  last visit       {rfc3339(at(1))}" in reading.on_one_screen({"client_id": "c1", **public, **shown})


def test_a_partition_that_never_read_it_begins_at_its_beginning():
    begin = {"profiles": 5, "balances": 7, "logins": 0, "trades": 3, "rerouted": 0, "events": 0}
    assert next_batch({"visits": [ConsumerRecord(0, at(1), b"C1", value(kind="cash"))]}, begin, 10).ranges == {
        "visits": (0, 1)
    }


class Bounded(Event):
    """Numbers in bounds of every kind."""

    whole: Annotated[int, Field(gt=0, lt=10)] = 1
    part: Annotated[float, Field(gt=0, lt=1)] | None = None
    either: Annotated[int | float, Field(ge=1e-6, le=9)] = 1
    any: int = 0
    least: Annotated[int, Field(ge=-5)] = 0


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("whole", (1, 9)),
        ("part", (0, 1)),
        ("either", (1e-6, 9)),
        ("any", (-inf, inf)),
        ("least", (-5, inf)),
    ],
)
def test_bounds_are_those_of_the_model(name, bounds):
    assert Topic(name="b", rank=9, singular="b", called="b", model=Bounded).bounds(name) == bounds
