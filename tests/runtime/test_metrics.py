"""Metrics: what the text holds, what it no longer shows, and that no client is ever a label."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from engine.runtime.observe.metrics import STATES, Metrics
from tests.core.making import at, balance, login, plan_of, profile, rule
from tests.runtime.driving import Bench, all_batches, topics_of


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def labelled(metrics: Metrics, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (found, labels), value in samples(metrics).items() if found == name}


def test_what_an_alert_looks_at_is_there_from_the_start():
    """A series that appears with the first fault cannot be told from one that is missing."""
    names = {name for name, _ in samples(Metrics(CollectorRegistry()))}
    for name in ("engage_waiting", "engage_commit_seconds_count", "engage_rule_set_stale", "engage_ticks_total"):
        assert name in names


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
    assert bench.ledger.messages
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
