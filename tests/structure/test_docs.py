"""The documentation names everything that a reader can meet: commands, settings, metrics, reasons, names, functions."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from engine import __version__
from engine.cli.main import main
from engine.core.contract.outbound import OUTBOUND, Outcome, Rejection
from engine.core.contract.topics import inbound_topics
from engine.core.language import functions as expression_functions
from engine.core.rules import names
from engine.publish import reference
from engine.runtime.observe.metrics import Metrics
from engine.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs/rules-reference.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: str = "engage") -> list[str]:
    found: list[str] = []
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        found += commands(command, whole) if isinstance(command, click.Group) else [whole]
    return found


def metrics() -> list[str]:
    families = Metrics().registry.collect()
    return [f.name + ("_total" if f.type == "counter" else "") for f in families if f.name.startswith("engage_")]


EVENT_NAMES = [name for about in (*inbound_topics(), "maturity") for name in names.event_names(about)]
ALL_NAMES = [*names.client_names((), ()), *EVENT_NAMES, *names.tier_change_names(())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(OPERATIONS, commands(main), id="commands"),
        pytest.param(OPERATIONS, list(Settings.model_fields), id="settings"),
        pytest.param(OPERATIONS, metrics(), id="metrics"),
        pytest.param(OPERATIONS, [*Outcome, *Rejection], id="reasons"),
        pytest.param(OPERATIONS, [*inbound_topics(), *OUTBOUND, "dead-letters"], id="topics"),
        pytest.param(REFERENCE, [name.name for name in ALL_NAMES], id="names"),
        pytest.param(REFERENCE, list(expression_functions.FUNCTIONS), id="functions"),
    ],
)
def test_the_documentation_has_a_word_on_each(text: str, words: list[str]) -> None:
    missing = [word for word in words if not re.search(rf"`[^`\n]*(?<![\w.-]){re.escape(word)}(?![\w-])", text)]
    assert words
    assert not missing


def test_the_reference_is_that_of_the_code() -> None:
    assert reference.render() == REFERENCE, "run make schemas"


def test_the_changelog_names_the_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
