"""Grafana's dashboard: it imports anywhere, every expression is right, and shows what the engine exports.

Its JSON model is checked against Grafana's own types by `make test-clients` (tests/clients/test_dashboard.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.test_deploy import DEPLOY, METRIC, exported_metrics, promtool, run, uses_only_what_is_exported

__all__ = ["promtool"]

FILE = DEPLOY / "grafana" / "dashboards" / "engage.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
UNITS = {
    "short",
    "eps",
    "ops",
    "s",
    "d",
    "bytes",
    "Bps",
    "percentunit",
}  # Grafana's names; it takes others for a suffix
USED = re.compile(r"\$\{?(?!_)(\w+)")
NOT_SHOWN = {
    "engage_breaker_counted_total",  # for the test that the breaker counts
    "engage_build_info",  # asked by hand, at an upgrade
    "engage_monitor_commits_total",  # offsets for other monitors
    "engage_overrides_total",  # rare
    "engage_redis_evicts",  # the alert RedisEvicts
    "engage_rule_sampled_tests_total",  # `engage rules top`
    "engage_rule_set_partitions",  # two for a moment, when rules change
    "engage_state_dropped_total",  # rare
    "engage_unknown_zones_total",  # rare
}


def expressions() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])


def test_promtool_accepts_every_expression(promtool: str, tmp_path: Path) -> None:
    asked = [
        e.replace("$__rate_interval", "1m").replace("$job", "engage").replace("$rule", ".*") for e in expressions()
    ]
    assert not [expression for expression in asked if "$" in expression]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "dashboards.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))  # JSON is YAML
    run(promtool, "check", "rules", file)


def test_expressions_use_only_what_the_engine_exports() -> None:
    uses_only_what_is_exported(expressions())


def test_what_the_engine_exports_is_shown() -> None:
    """A new metric has a panel, or is named here with the reason why it has none."""
    shown = {name for expression in expressions() for name in METRIC.findall(expression)}
    exported = {name for name in exported_metrics() if name.startswith("engage_")}
    histograms = {name for name in exported if name.endswith(("_count", "_sum"))}  # their buckets are shown
    assert exported - histograms - shown == NOT_SHOWN


def test_every_expression_asks_only_the_chosen_job() -> None:
    """Two installations that one Prometheus reads are not added up."""
    for expression in expressions():
        for name in re.finditer(r"\b(engage_[a-z_]+|process_[a-z_]+|up|ALERTS)\b(?=[\[({ )]|$)", expression):
            matchers = expression[name.end() :].partition("}")[0]
            assert matchers.startswith("{"), expression
            assert 'job=~"$job' in matchers, expression


def test_panels_have_their_own_place_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_the_unit_is_that_of_the_metric() -> None:
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            expression = target["expr"]
            if "_seconds" in expression and "_sampled_events" not in expression and "cpu" not in expression:
                assert unit == "s", panel["title"]
            if "_bytes" in expression:
                assert unit == ("Bps" if "rate(" in expression else "bytes"), panel["title"]
            if "rate(" in expression and "quantile" not in expression:
                assert unit in ("eps", "ops", "Bps", "percentunit", "s"), panel["title"]
            if "increase(" in expression:
                share = " / " in expression and not expression.startswith("100 * ")
                assert unit == ("percentunit" if share else "short"), panel["title"]


def test_it_imports_into_any_grafana() -> None:
    """It names no data source: whoever imports it chooses one. Every variable that is used is declared, and used."""
    assert VARIABLES["datasource"]["type"] == "datasource"
    shown = [*PANELS, *DASHBOARD["annotations"]["list"]]
    shown += [variable for name, variable in VARIABLES.items() if name != "datasource"]
    for one in [*shown, *(target for panel in PANELS for target in panel["targets"])]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, one
    assert set(USED.findall(json.dumps(shown))) == VARIABLES.keys()
    assert not [key for key in DASHBOARD if key in ("id", "__inputs", "__requires")]
    assert DASHBOARD["uid"] == "engage"


def test_publishes_pauses_and_alerts_are_marked_in_every_panel() -> None:
    marks = {annotation["name"]: annotation for annotation in DASHBOARD["annotations"]["list"]}
    assert marks.keys() == {"Rules published", "Rules paused", "Alerts"}
    for mark in marks.values():
        assert mark["enable"]
        assert re.search(r"\{\{(\w+)\}\}", mark["titleFormat"])[1] in mark["expr"] + "alertname"  # type: ignore[index]


def test_a_series_of_a_rule_leads_to_that_rule_alone() -> None:
    by_rule = [panel for panel in PANELS if any("{{rule}}" in target["legendFormat"] for target in panel["targets"])]
    assert len(by_rule) >= 2
    for panel in by_rule:
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        assert link["url"].startswith(f"/d/{DASHBOARD['uid']}?")
        assert "var-rule=${__field.labels.rule}" in link["url"]
