"""Every recipe of the cookbook is what it says: its files load beside small others, and its tests pass."""

from __future__ import annotations

import re

import pytest

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from engine.rulefile.trial.run import run_tests
from tests.services.process import REPOSITORY

COOKBOOK = (REPOSITORY / "docs/rules-cookbook.md").read_text(encoding="utf-8")
RECIPES = re.split(r"^## ", COOKBOOK, flags=re.MULTILINE)[1:]
BASE = {
    "features.yaml": """\
features:
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  trades_90d: {source: trades, aggregate: count, window: 90d}
""",
    "tiers.yaml": (REPOSITORY / "rules/tiers.yaml").read_text(encoding="utf-8").partition("segments:")[0],
    "policy.yaml": "contact: {daily_cap: 2}\n",
}


def files_of(recipe: str) -> dict[str, str]:
    files = dict(BASE)
    for name, text in re.findall(r"```(?:yaml|csv)\n# ([a-z.]+)\n(.*?)```", recipe, flags=re.DOTALL):
        files[name] = BASE[name] + text.partition("\n")[2] if name == "features.yaml" else text
    return files


def test_they_are_numbered():
    assert [recipe.partition(".")[0] for recipe in RECIPES] == [str(number) for number in range(1, 28)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.partition("\n")[0])
def test_a_recipe_works_as_written(recipe):
    rule_set = load(files_of(recipe))
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    report = run_tests(rule_set)
    assert report.results
    assert not report.untested
    assert not [f"{result.test.name}: {result.failure}" for result in report.failed]
