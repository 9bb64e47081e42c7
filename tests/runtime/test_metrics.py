"""Metrics: what the text holds, what it no longer shows, and that no client is ever a label."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from engine.core.contract.corrections import Correction
from engine.core.contract.events import Feedback
from engine.core.contract.topics import TOPICS, intake_topics
from engine.core.reading.decode import fallbacks
from engine.core.rules.ruleset import RuleSet
from engine.runtime.observe.metrics import STATES, Metrics
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.worker.observing import RulesInUse
from tests.core.making import TIERS, at, balance, event_of, login, plan_of, profile, rule, shipped_plan, trade
from tests.runtime.driving import Bench, all_batches, take_all, topics_of

LARGEST = "{source: trades, aggregate: max, field: amount_cny, window: 7d}"


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def labelled(metrics: Metrics, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (found, labels), value in samples(metrics).items() if found == name}


WAY = """\
journeys:
  - {id: way, title: T, owner: wealth, description: D., entry: {on: trades}, steps: {rest: {wait: 2d}}}
"""


def rules_of(*names: str) -> RuleSet:
    return plan_of(*(rule(name) for name in names)).rule_set


def count_of(*labels: str) -> OpenUnit:
    unit = OpenUnit()
    unit.counts[labels] += 1
    return unit


def shown_rules(metrics: Metrics) -> set[str]:
    return {dict(labels)["rule"] for _, labels in samples(metrics) if "rule" in dict(labels)}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("engage_waiting", {"system": "redis"}),
        ("engage_commit_seconds_count", {"step": "apply"}),
        ("engage_rule_set_stale", {}),
        ("engage_ticks_total", {}),
        ("engage_events_total", {"topic": "profiles"}),
        ("engage_duplicates_total", {"topic": "trades"}),
        ("engage_late_events_total", {"topic": "balances"}),
        ("engage_rerouted_total", {"topic": "logins"}),
        ("engage_rejected_total", {"topic": "trades", "reason": "future"}),
        ("engage_rejected_total", {"topic": "rerouted", "reason": "unknown_value"}),
        ("engage_unread_fields_total", {"topic": "profiles", "field": "consents.sms"}),
        ("engage_unread_fields_total", {"topic": "balances", "field": "margin_ratio"}),
        ("engage_units_total", {"cause": "handover"}),
        ("engage_recoveries_total", {"cause": "newer"}),
        ("engage_swept_clients_total", {"result": "changed"}),
    ],
)
def test_what_is_counted_begins_at_0(name, labels):
    """A rate never sees a series that begins with its first event, and an alert cannot tell it from a missing one."""
    assert samples(Metrics(CollectorRegistry()))[name, frozenset(labels.items())] == 0


OTHERS = (
    ("journeys/way.yaml", WAY),
    ("policy.yaml", "contact: {daily_cap: 2}\nbudgets: {b: {limit: 5}}\n"),
    ("advisors.yaml", "advisors: {an: {pool: all, capacity: 1}}\n"),
    ("assignment.yaml", "assignment: {pools: {all: {when: client.days_known >= 0, team: wealth}}}\n"),
)


def test_every_counter_with_labels_has_series_from_the_start():
    """Also one that is added later."""
    metrics = Metrics(CollectorRegistry())
    metrics.uses(None, plan_of(rule("hello"), others=OTHERS).rule_set)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    assert [name for name, family in families.items() if family.type == "counter" and not family.samples] == []
    assert len([family for family in families.values() if family.type == "counter"]) > 15


def test_what_is_counted_had_a_series_before():
    """Every label that deciding can lead to is known: all bad records there are, tiers and rules at work."""
    metrics = Metrics(CollectorRegistry())
    metrics.uses(None, rules_of("hello"))
    before = set(samples(metrics))
    for topic, kind in TOPICS.items():
        for field in fallbacks(kind.model):
            unit = OpenUnit()
            unit.unread[topic, field] += 1
            metrics.committed(0, "age", unit, {}, [b"r"])
    for move in (
        ("", "A", "first"),
        ("B", "A", "promoted"),
        ("A", "C", "demoted"),
        ("A", "qfii", "type_changed"),
    ):
        metrics.committed(0, "tick", count_of("tier_changes", *move), {}, [b"r"])
    rule_set = rules_of("hello")
    for outcome in rule_set.outcomes_of(rule_set.rules[0]):
        metrics.committed(0, "messages", count_of("decisions", "hello", outcome.value), {}, [b"r"])
    assert set(samples(metrics)) == before


def test_rules_tiers_and_partitions_that_are_gone_are_shown_no_more():
    metrics = Metrics(CollectorRegistry())
    metrics.uses(None, rules_of("old", "both"))
    metrics.uses(3, rules_of("old", "both"))
    metrics.uses(4, rules_of("old", "both"))
    assert shown_rules(metrics) == {"old", "both"}
    metrics.uses(None, rules_of("both", "new"))
    metrics.uses(3, rules_of("both", "new"))
    metrics.committed(4, "messages", count_of("decisions", "old", "sent"), {}, [b"r"])  # by a unit that was still open
    assert shown_rules(metrics) == {"old", "both", "new"}
    metrics.forget(4)  # another worker's now
    assert shown_rules(metrics) == {"both", "new"}
    metrics.committed(3, "tick", count_of("tier_changes", "Z", "A", "promoted"), {}, [b"r"])  # Z was a tier once
    metrics.uses(3, rules_of("new"))
    metrics.uses(None, rules_of("new"))
    assert shown_rules(metrics) == {"new"}
    assert not [labels for _, labels in samples(metrics) if ("from_tier", "Z") in labels]
    metrics.uses(None, rules_of("new", "old"))  # one that comes back begins at 0
    assert labelled(metrics, "engage_decisions_total")[frozenset({("rule", "old"), ("outcome", "sent")})] == 0


def test_a_rule_shows_what_can_become_of_it_and_nothing_else():
    metrics = Metrics(CollectorRegistry())
    plans = [plan_of(rule("r", audience="team", **fields)) for fields in ({}, {"silence": "{of: logins, for: 30d}"})]
    once, both = {"snoozed", "cooldown", "sent"}, {"expired", "snoozed", "cooldown", "sent"}

    def shown() -> set[str]:
        return {dict(labels)["outcome"] for labels in labelled(metrics, "engage_decisions_total")}

    metrics.uses(None, plans[0].rule_set)
    assert shown() == once
    metrics.rules.decided("r", "sent", 3)
    metrics.uses(1, plans[1].rule_set)  # one partition after another comes to the new rules
    assert shown() == both
    metrics.uses(None, plans[1].rule_set)
    metrics.rules.decided("r", "held", 1)  # by a policy that is gone
    assert shown() == both | {"held"}
    metrics.uses(1, plans[0].rule_set)
    metrics.uses(None, plans[0].rule_set)
    assert shown() == once
    assert labelled(metrics, "engage_decisions_total")[frozenset({("rule", "r"), ("outcome", "sent")})] == 3


def test_the_registry_and_the_page_show_the_same():
    bench = Bench(plan_of(rule("hello")))
    metrics = bench.metrics
    metrics.rules.tested("hello", 0.25)
    metrics.rules.decided("hello", "sent", 3)
    found = samples(metrics)
    assert found == {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    assert found["engage_rule_sampled_seconds_total", frozenset({("rule", "hello")})] == 0.25


@pytest.mark.parametrize(("rules", "partitions"), [(0, 12), (60, 1), (60, 64), (1_000, 12), (5_000, 64)])
def test_the_size_of_the_page_is_bounded(rules, partitions):
    """As docs/operations.md has it: 0.8 KB a rule with an id of 30 characters, 3 KB a partition, 60 KB beside."""
    metrics = Metrics(CollectorRegistry())
    shipped = shipped_plan().rule_set
    many = itertools.islice(itertools.cycle(shipped.rules), rules)
    named = tuple(replace(one, id=f"{number:05}".rjust(30, "x")) for number, one in enumerate(many))
    used = replace(shipped, rules=named)
    for partition in range(partitions):
        metrics.uses(partition, used)
        metrics.partition_state(partition, "running")
        metrics.population(partition, dict.fromkeys("ABCDE", 1_000_000))
        for topic in intake_topics():
            metrics.lag.labels(topic, partition).set(1_000_000)
    for one in named:
        for outcome in used.outcomes_of(one):
            metrics.rules.decided(one.id, outcome.value, 10**9)
        metrics.rules.tested(one.id, 1 / 3)
    size = len(metrics.text())
    assert rules * 500 < size < 800 * rules + 3_000 * partitions + 60_000


def test_every_metric_carries_the_engines_name_and_a_text():
    text = Metrics(CollectorRegistry()).text().decode()
    assert set(re.findall(r"^# HELP (\w+?)_", text, re.M)) == {"engage"}
    assert not re.findall(r"^# HELP \w+ *$", text, re.M)


def test_a_process_shows_its_own_memory_and_time():
    assert any(name == "process_cpu_seconds_total" for name, _ in samples(Metrics()))


def test_a_partition_is_in_one_state():
    metrics = Metrics(CollectorRegistry())
    metrics.partition_state(3, "recovering")
    metrics.partition_state(3, "running")
    states = labelled(metrics, "engage_partition_state")
    assert {dict(labels)["state"]: value for labels, value in states.items()} == {
        state: float(state == "running") for state in STATES
    }


def test_a_partition_given_away_is_shown_no_more():
    metrics = Metrics(CollectorRegistry())
    for partition in (3, 13):
        metrics.partition_state(partition, "running")
        metrics.population(partition, {"A": 1})
        metrics.lag.labels("trades", partition).set(5)
    metrics.forget(3)
    left = [dict(labels)["partition"] for (_, labels) in samples(metrics) if "partition" in dict(labels)]
    assert set(left) == {"13"}


def test_a_tier_that_has_lost_its_last_client_is_shown_no_more():
    metrics = Metrics(CollectorRegistry())
    metrics.population(3, {"A": 1, "B": 2})
    metrics.population(4, {"B": 7})
    metrics.population(3, {"B": 3})
    found = {tuple(sorted(labels)): value for labels, value in labelled(metrics, "engage_tier_clients").items()}
    assert found == {(("partition", "3"), ("tier", "B")): 3, (("partition", "4"), ("tier", "B")): 7}


def test_one_rule_set_is_in_force():
    metrics = Metrics(CollectorRegistry())
    metrics.rule_set_in_force("old")
    metrics.rule_set_in_force("new")
    assert labelled(metrics, "engage_rule_set_info") == {frozenset({("digest", "new")}): 1}


async def test_no_client_is_a_label():
    bench = Bench(plan_of(rule("hello")))
    worker = await bench.started()
    history = [profile(at(0), client_id="jane-doe"), balance(at(1), 10**7, client_id="jane-doe")]
    for batch in all_batches(topics_of([*history, login(at(2), client_id="jane-doe", device_id="jane-phone")]), 1):
        await worker.take(batch)
    assert bench.ledger.acts
    assert b"jane" not in bench.metrics.text()


async def test_what_is_refused_is_a_line_a_unit_with_the_error():
    """Lines that repeat are folded (tests/runtime/test_folding.py); a line for each record would be thousands."""
    bench = Bench(plan_of(rule("hello")))
    worker = await bench.started()
    good = topics_of([login(at(day)) for day in range(9)])["logins"]
    for record in good[::3]:
        record.value = b"\x1f\x8b"
    with capture_logs() as lines:
        for batch in all_batches({"logins": good}, 9):
            await worker.take(batch)
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert (line["topic"], line["reason"], line["records"]) == ("logins", "not_json", 3)
    assert "gzip" in line["error"]
    assert "c1" not in str(line)


async def test_a_feature_that_a_correction_left_unknown_is_named_with_the_remedy():
    feature = "  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n"
    bench = Bench(plan_of(rule("hello"), features=f"{feature}  largest_cny_7d: {LARGEST}\n"))
    worker = await bench.started()
    busted = event_of(trade(at(0), 500))
    fields = {"event_id": "k1", "client_id": "c1", "time": at(1), "kind": "cancel", "topic": "trades"}
    original = busted.model_dump(mode="json", exclude_none=True)
    item = "corrections", Correction(**fields, corrects=busted.event_id, original=original)
    with capture_logs() as lines:
        for batch in all_batches(topics_of([("trades", busted), item]), 9):
            await worker.take(batch)
        await worker.commit("age")
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert (line["feature"], line["clients"]) == ("largest_cny_7d", 1)
    assert "engage backfill" in line["event"]
    series = frozenset({("partition", "7"), ("feature", "largest_cny_7d")})
    assert labelled(bench.metrics, "engage_unknown_values") == {series: 1}


STAGES = """\
stages:
  - {id: back, when: client.stage == "gone" and client.days_in_stage < 2}
  - {id: gone, when: client.days_since_login >= 3}
  - {id: here, when: known(client.days_since_login)}
"""


async def test_clients_are_counted_by_stage_at_every_event_and_moment_and_after_a_start():
    bench = Bench(plan_of(rule("hello"), portrait=STAGES))
    worker = await bench.started()

    def stages() -> dict[str, float]:
        found = labelled(bench.metrics, "engage_stage_clients")
        assert {dict(labels)["partition"] for labels in found} <= {"7"}
        return {dict(labels)["stage"]: value for labels, value in found.items()}

    history = [login(at(0), client_id="c1"), login(at(0), client_id="c2"), login(at(2), client_id="c2"), trade(at(2))]
    await take_all(worker, topics_of([*history, profile(at(2), client_id="c3")]))
    await worker.commit("age")
    assert stages() == {"here": 2}  # nothing is known of c3's logins
    await worker.tick(at(3) + 1)
    assert stages() == {"here": 1, "gone": 1}
    await worker.tick(at(5) + 1)
    assert stages() == {"gone": 2}
    assert worker.position.tallies == {"stage:gone": 2}
    assert (await bench.started()).position.tallies == worker.position.tallies
    assert stages() == {"gone": 2}


async def test_the_delay_of_an_action_is_from_its_record_to_its_commit():
    bench = Bench(plan_of(rule("seen", on="logins", kind="task", audience="team")))
    worker = await bench.started()
    (batch,) = all_batches(topics_of([login(at(1), client_id="c1"), login(at(2), client_id="c2")]), 10)
    bench.wall_ms = batch.records[-1].timestamp_ms + 3_000
    await worker.take(batch)
    assert [message.key for message in bench.ledger.acts] == [b"c1", b"c2"]
    assert labelled(bench.metrics, "engage_action_delay_seconds_count") == {frozenset(): 2}
    apart_s = (batch.records[1].timestamp_ms - batch.records[0].timestamp_ms) / 1000
    assert labelled(bench.metrics, "engage_action_delay_seconds_sum") == {frozenset(): 3 + 3 + apart_s}


def test_scrapers_get_the_form_they_ask_for():
    metrics = Metrics(CollectorRegistry())
    metrics.uses(0, rules_of("a", "b"))
    metrics.rules.decided("a", "sent", 3)
    text, kind = metrics.page("*/*")
    assert text == metrics.text()
    assert kind.startswith("text/plain; version=")
    assert "charset=utf-8" in kind
    text, kind = metrics.page("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=")
    families = {family.name: family for family in openmetrics_families(text.decode())}  # refuses what is no OpenMetrics
    assert families.keys() == {f.name for f in text_string_to_metric_families(metrics.text().decode())}
    sent = [s for s in families["engage_decisions"].samples if s.value == 3]
    assert [s.labels for s in sent] == [{"rule": "a", "outcome": "sent"}]


def test_a_worker_says_once_what_all_its_partitions_have_come_to():
    rules = {"newest": "old"}
    use = RulesInUse(lambda: rules["newest"])

    def lines(*stands: tuple[int, str, bool], gone: int | None = None) -> list[str]:
        with capture_logs() as written:
            for stand in stands:
                use.stands(*stand)
            if gone is not None:
                use.forget(gone)
        return [line["event"].partition(":")[0] + "".join(map(str, line.get("partitions", []))) for line in written]

    begins, ends = "sweep begins", "sweep ends"
    assert lines(*((number, "old", False) for number in range(3))) == []  # whoever loads a start's rules tells of them
    rules["newest"] = "new"
    assert lines((0, "new", True), (0, "new", False), (1, "new", True)) == [begins]  # 2 has them yet to come
    assert lines((2, "new", True)) == ["rule set active012"]
    assert lines((2, "new", False)) == []
    assert lines((1, "new", False)) == [ends]
    assert lines((1, "new", False), (3, "new", False)) == []  # one was started again, one came
    rules["newest"] = "newer"
    assert lines((0, "newer", True), (1, "newer", False), (2, "newer", False)) == [begins]
    assert lines(gone=3) == ["rule set active012"]  # the last that used others was taken away
    assert lines(gone=0) == [ends]
    rules["newest"] = "newest"
    assert lines((1, "newer", False), (2, "newest", False)) == []
    rules["newest"] = "last"
    assert lines((1, "newest", False), (2, "last", False)) == []
    assert lines((1, "last", False)) == ["rule set active12"]
    assert lines(gone=7) == lines(gone=1) == lines(gone=2) == []


SEGMENTS = "segments:\n  - {id: busy, when: client.days_since_login == 0}\n"


async def test_surveys_and_scores_are_counted_by_segment_each_from_zero():
    bench = Bench(plan_of(rule("ask", kind="survey"), tiers=TIERS + SEGMENTS))
    worker = await bench.started()
    assert labelled(bench.metrics, "engage_surveys_total") == {
        frozenset({("segment", segment), ("step", step)}): 0
        for segment in ("", "busy")
        for step in ("sent", "answered")
    }
    answers = [
        ("feedback", Feedback(event_id=f"f{n}", client_id="c1", time=at(1) + n + 1, action_id="x", **scores))
        for n, scores in enumerate([{"nps": 9}, {"nps": 6, "csat": 4}, {"nps": 7, "ces": 4}, {"comment": "Fine."}])
    ]
    await take_all(worker, topics_of([profile(at(0)), login(at(1)), *answers]))
    await worker.commit("age")
    counted = labelled(bench.metrics, "engage_surveys_total")
    shown = {tuple(v for _, v in sorted(labels)): n for labels, n in counted.items()}
    assert shown == {("busy", "sent"): 1, ("busy", "answered"): 4, ("", "sent"): 0, ("", "answered"): 0}
    scores = labelled(bench.metrics, "engage_survey_scores_total")
    given = {tuple(v for _, v in sorted(labels)): n for labels, n in scores.items() if n}  # class, score, segment
    assert given == {
        ("promoter", "nps", "busy"): 1,
        ("detractor", "nps", "busy"): 1,
        ("passive", "nps", "busy"): 1,
        ("satisfied", "csat", "busy"): 1,
        ("neutral", "ces", "busy"): 1,
    }
    assert len(scores) == 2 * 9
    bench.metrics.uses(7, plan_of(rule("hello")).rule_set)
    assert {dict(labels)["segment"] for labels in labelled(bench.metrics, "engage_surveys_total")} == {""}
