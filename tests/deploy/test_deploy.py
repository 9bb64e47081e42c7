"""What ships beside the code: Prometheus' rules and the Compose file are right and fit the engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from engine.core.contract.outbound import Outcome, Rejection
from engine.core.contract.topics import POOL_TOPICS, REROUTED, inbound_topics
from engine.runtime.observe.metrics import RECOVERY_CAUSES, STATES, UNIT_CAUSES
from engine.runtime.settings import OF_POOLS, Settings
from tests.services.process import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
METRIC = re.compile(r"\b(engage_[a-z_]+)\b(?!\s*=)")
LABELS = re.compile(r"\b(engage_[a-z_]+)\{([^}]*)\}")


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        missing = "promtool is not installed: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return program


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_keda_watches_what_workers_commit() -> None:
    spec, settings = load(DEPLOY / "keda" / "scaledobject.yaml")["spec"], Settings()
    watched = [trigger["metadata"] for trigger in spec["triggers"]]
    pools = settings.scoped(*OF_POOLS).group
    assert [(metadata["consumerGroup"], metadata["topic"]) for metadata in watched] == [
        *((settings.group, settings.topic(name)) for name in (*inbound_topics(), REROUTED)),
        *((pools, settings.topic(name)) for name in POOL_TOPICS),
    ]
    assert spec["minReplicaCount"] >= 1


def test_promtool_accepts_the_configuration(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yml")


def test_promtool_accepts_the_alert_rules(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint-fatal", "alerts.yml")


def test_alerts_fire_when_they_should(promtool: str) -> None:
    run(promtool, "test", "rules", "alerts_test.yaml")


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    tested = {
        test["alertname"]
        for case in load(PROMETHEUS / "alerts_test.yaml")["tests"]
        for test in case["alert_rule_test"]
        if test.get("exp_alerts")
    }
    for alert in alerts():
        assert alert["for"], alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        assert len(alert["annotations"]["description"]) > 60, alert["alert"]
    assert {alert["alert"] for alert in alerts()} == tested


KNOWN = {
    "state": set(STATES),
    "cause": {*UNIT_CAUSES, *RECOVERY_CAUSES},
    "outcome": set(Outcome),
    "reason": set(Rejection),
}


def test_what_alerts_are_tried_with_are_labels_and_values_that_workers_export() -> None:
    exported = exported_metrics()
    for case in load(PROMETHEUS / "alerts_test.yaml")["tests"]:
        for series in case["input_series"]:
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})?", series["series"]).groups()  # type: ignore[union-attr]
            values = dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))
            assert not name.startswith("engage_") or name in exported, name
            for label, value in values.items():
                assert name == "up" or label in exported[name] | {"instance", "job", "le"}, series["series"]
                assert value in KNOWN.get(label, {value}), series["series"]


def test_alerts_use_only_what_the_engine_exports() -> None:
    uses_only_what_is_exported(alert["expr"] for alert in alerts())


def uses_only_what_is_exported(expressions: Iterable[str]) -> None:
    exported = exported_metrics()
    for expression in expressions:
        assert set(METRIC.findall(expression)) <= exported.keys(), expression
        for name, matchers in LABELS.findall(expression):
            used = {matcher.partition("=")[0].rstrip("!").strip() for matcher in matchers.split(",")}
            assert used <= exported[name] | {"instance", "job", "le"}, expression


def exported_metrics() -> dict[str, set[str]]:
    """Name as exported -> its labels, of everything that the engine registers."""
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics import MetricWrapperBase

    from engine.runtime.observe.metrics import Metrics

    metrics = Metrics(CollectorRegistry())
    metrics.rules.keep({"a-rule": (Outcome.SENT,)})
    exported = {sample.name: set(sample.labels) for family in metrics.rules.collect() for sample in family.samples}
    ends = {Counter: ("_total",), Histogram: ("_bucket", "_count", "_sum")}
    for collector, names in metrics._plain._collector_to_names.items():
        labels = set(collector._labelnames) if isinstance(collector, MetricWrapperBase) else set()
        exported |= dict.fromkeys((name for name in names if name.endswith(ends.get(type(collector), ""))), labels)
    exported |= {f.name: set(f._labelnames) for own in (metrics.pools, metrics.budgets) for f in own.describe()}
    return exported


def test_the_compose_file_fits_the_compose_specification() -> None:
    schema = json.loads((DEPLOY / "compose-spec" / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(load(REPOSITORY / "docker-compose.yml"))


def test_compose_publishes_on_loopback_only_and_mounts_what_exists() -> None:
    compose = load(REPOSITORY / "docker-compose.yml")
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (REPOSITORY / source).is_dir() if source.startswith(".") else source in compose["volumes"], volume


def test_containers_run_as_a_numeric_user_that_is_not_root() -> None:
    """Kubernetes refuses a name with runAsNonRoot: it cannot know that it is not root's."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    last_stage = dockerfile.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE)
    assert user.isdecimal()
    assert int(user) >= 10_000
    assert f"useradd --system --uid {user} " in last_stage
    for name, service in load(REPOSITORY / "docker-compose.yml")["services"].items():
        assert "user" not in service, name  # else another than the image's


def test_the_lock_files_fit_each_other_and_name_no_index() -> None:
    text = {name: (REPOSITORY / name).read_text() for name in ("requirements.lock", "requirements-runtime.lock")}
    pins = {name: set(re.findall(r"^[a-z0-9-]+==\S+", body, re.M)) for name, body in text.items()}
    assert pins["requirements-runtime.lock"] < pins["requirements.lock"]
    assert {"faust-streaming==0.15.3", "aiokafka==0.14.0"} <= pins["requirements-runtime.lock"]
    assert not any("://" in body or "index-url" in body for body in text.values())
