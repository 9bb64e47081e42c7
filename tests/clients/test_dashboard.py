"""The dashboard against Grafana's own types, by the TypeScript compiler: every key is one that Grafana knows, in its
place, with a value that it has there. No Grafana is started.
"""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_clients import tools
from tests.deploy.test_dashboard import DASHBOARD

pytestmark = pytest.mark.clients
__all__ = ["tools"]

TYPES = (Path(__file__).parent / "dashboard.ts").read_text()
OPTIONS = {"noEmit": True, "strict": True, "skipLibCheck": True, "target": "es2022", "module": "esnext", "types": []}
# Grafana's Prometheus reads these keys, and writes them itself; the types of a dashboard are for every data source
OF_PROMETHEUS = {"expr", "step", "titleFormat", "tagKeys", "useValueForTime"}
OF_A_VARIABLE = {"definition"}


def program(dashboard: dict[str, Any]) -> str:
    known = copy.deepcopy(dashboard)
    for mark in known["annotations"]["list"]:
        assert mark.keys() >= OF_PROMETHEUS
        for key in OF_PROMETHEUS:
            del mark[key]
    for variable in known["templating"]["list"]:
        for key in OF_A_VARIABLE & variable.keys():
            del variable[key]
    lines = [TYPES, f"export const dashboard: Json<Dashboard> = {json.dumps(known, indent=1)};"]
    for panel in known["panels"]:
        if (kind := panel["type"]) == "row":
            continue
        number, defaults = panel["id"], panel["fieldConfig"]["defaults"]
        lines.append(f"export const options{number}: Json<Partial<{kind}.Options>> = {json.dumps(panel['options'])};")
        lines.append(f"export const targets{number}: Json<Query>[] = {json.dumps(panel['targets'])};")
        if "custom" in defaults:
            lines.append(f"export const field{number}: Json<{kind}.FieldConfig> = {json.dumps(defaults['custom'])};")
    return "\n".join(lines)


def faults(tools: Path, dashboard: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory(dir=tools) as directory:  # beside the packages
        checked = Path(directory, "checked.ts")
        checked.write_text(program(dashboard))
        project = {"compilerOptions": OPTIONS | {"moduleResolution": "bundler"}, "files": [checked.name]}
        (checked.parent / "tsconfig.json").write_text(json.dumps(project))
        compiler = tools / "node_modules/typescript/bin/tsc"
        done = subprocess.run(
            ["node", compiler, "-p", directory], cwd=directory, capture_output=True, text=True, check=False
        )
    assert (done.returncode == 0) is (done.stdout == ""), done.stderr
    return done.stdout


def test_grafana_knows_every_key_of_the_dashboard(tools: Path) -> None:
    assert faults(tools, DASHBOARD) == ""


def _panel(dashboard: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(panel for panel in dashboard["panels"] if panel["type"] == kind)
    return found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda d: d.update(templates=[]), "'\"templates\"' does not exist"),
        (lambda d: d["templating"]["list"][1].update(refresh=9), "Type '9' is not assignable"),
        (lambda d: _panel(d, "stat")["options"].update(colorMode="green"), "Type '\"green\"' is not assignable"),
        (lambda d: _panel(d, "timeseries")["options"]["legend"].pop("showLegend"), "showLegend"),
        (
            lambda d: _panel(d, "timeseries")["fieldConfig"]["defaults"]["custom"].update(fillOpacty=5),
            "'\"fillOpacty\"' does not exist",
        ),
        (lambda d: _panel(d, "stat")["targets"][0].update(query="up"), "'\"query\"' does not exist"),
        (lambda d: _panel(d, "timeseries")["gridPos"].pop("w"), "'w' is missing"),
    ],
)
def test_a_key_that_it_does_not_know_is_found(tools: Path, wrong: Callable[[dict[str, Any]], Any], said: str) -> None:
    dashboard = copy.deepcopy(DASHBOARD)
    wrong(dashboard)
    assert said in faults(tools, dashboard)
