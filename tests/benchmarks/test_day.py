"""The day's job: its rules load, and its trades are events."""

from __future__ import annotations

from benchmarks.day.job import Job, write_rules
from engine.core.reading.decode import Taken, decode
from engine.runtime.rule_sets.archive import load_directory


def test_rules_and_records_are_what_an_engine_takes(tmp_path):
    rule_set = load_directory(write_rules(tmp_path / "rules", 25))
    assert len(rule_set.rules) == 25
    job = Job(50)
    records = [*job.portraits(), *job.trades(100)]
    assert len(records) > 150
    assert all(isinstance(decode(r.topic, r.key, r.value, r.time_ms), Taken) for r in records)
