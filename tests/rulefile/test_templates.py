"""Templates: every action fits the schema of its template, and what breaks a renderer is named."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from engine.cli.main import main
from engine.core.plan.compile import compile_rule_set
from engine.demo import simulator
from engine.operations.replay import Replayed, read_file, replay_records
from engine.rulefile.tools.templates import breaking, templates
from engine.runtime.rule_sets.archive import load_directory
from tests.rulefile.sample import FILES, good
from tests.services.process import REPOSITORY

SHIPPED = load_directory(REPOSITORY / "rules")


def test_every_action_of_a_month_fits_the_schema_of_its_template() -> None:
    schemas = {name: Draft202012Validator(one.schema()) for name, one in templates(SHIPPED).items()}
    for validator in schemas.values():
        Draft202012Validator.check_schema(validator.schema)
    records = BytesIO()
    simulator.write(records, seed=5, clients=60, days=40, end="2026-11-01T00:00:00Z")
    records.seek(0)
    seen = set()
    for message in replay_records(compile_rule_set(SHIPPED), read_file(records, "x"), Replayed()):
        action = json.loads(message.value or b"") if message.topic not in ("tier-changes", "dead-letters") else {}
        if "template" in action:
            schemas[action["template"]].validate(action["parameters"])
            seen.add(action["template"])
    assert len(seen) > 10


RULE = FILES["retention.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("{asked: client.assets_cny}", "{asked: client.assets_cny}", []),
        ("{asked: client.assets_cny}", "{}", ["asked is no longer given"]),
        ("{}", "{asked: client.assets_cny}", []),
        ("{asked: client.known_since}", "{asked: client.days_known}", ["asked was time, and is days"]),
        ("{asked: trade.side}", "{asked: trade.symbol}", ["asked may be any text"]),
        ("{asked: trade.amount_cny}", "{asked: client.assets_cny}", ["asked may be missing"]),
    ],
)
def test_what_breaks_a_renderer_is_named(old: str, new: str, lines: list[str]) -> None:
    one, other = (good(with_parameters(parameters)) for parameters in (old, new))
    assert [line for difference in breaking(one, other) for line in difference.lines] == lines


def test_what_a_correction_can_leave_unknown_may_be_missing() -> None:
    features = (
        FILES["features.yaml"]
        + """\
  symbols_30d: {source: trades, aggregate: distinct, field: symbol, window: 30d}
  trades_of_old: {source: trades, aggregate: count, since: {on: balances}}
  logins_30d: {source: logins, aggregate: count, window: 30d}
"""
    )
    asked = with_parameters("{a: symbols_30d, b: trades_of_old, c: logins_30d, d: symbols_30d >= 3}")
    found = templates(good({**asked, "features.yaml": features}))
    (template,) = [one for one in found.values() if "a" in one.parameters]
    assert {name: one.always for name, one in template.parameters.items()} == {
        "a": False, "b": False, "c": True, "d": False,
    }  # fmt: skip


def with_parameters(parameters: str) -> dict[str, str]:
    rule = f"""
  - id: asked
    title: T
    owner: wealth
    on: trades
    kind: task
    audience: team
    priority: 50
    cooldown: 1d
    expires: 1d
    template: asked
    parameters: {parameters}
    description: D
"""
    return {**FILES, "asked.yaml": f"rules:{rule}"}


def test_a_new_template_and_a_new_channel() -> None:
    without = good(FILES)
    (new,) = breaking(without, good(with_parameters("{}")))
    assert str(new) == 'template "asked":\n  it has to be rendered: it is new'
    assert list(breaking(good(with_parameters("{}")), without)) == []


def test_the_command_writes_a_schema_of_each(tmp_path: Path) -> None:
    rules = str(REPOSITORY / "rules")
    result = CliRunner().invoke(main, ["templates", rules, "--json", "--schemas", str(tmp_path / "s")])
    listed = {one["template"]: one for one in json.loads(result.stdout)["templates"]}
    assert listed.keys() == {rule.template for rule in SHIPPED.rules}
    for name, one in listed.items():
        assert json.loads((tmp_path / "s" / f"{name}.json").read_text()) == one["schema"]
    assert "margin_call: alert by work_queue, of margin-call" in CliRunner().invoke(main, ["templates", rules]).stdout
