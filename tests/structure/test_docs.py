"""The documentation names everything that a reader can meet: commands, settings, metrics, reasons, names, functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from engine import __version__
from engine.cli.main import main
from engine.core.contract.outbound import OUTBOUND, Outcome, Rejection
from engine.core.contract.topics import inbound_topics, written_topics
from engine.core.decide.path import Input, decide
from engine.core.language import functions as expression_functions
from engine.core.plan.compile import compile_rule_set
from engine.core.reading.decode import Taken, decode
from engine.core.rules import names
from engine.core.rules.ruleset import RuleSet
from engine.publish import reference
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.schema import schema
from engine.runtime.observe.metrics import Metrics
from engine.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs/rules-reference.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: str = "engage") -> list[str]:
    found: list[str] = []
    for name in group.list_commands(click.Context(group)):  # imports the modules that have them
        command = group.commands[name]
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
        pytest.param(OPERATIONS, [*written_topics(), *OUTBOUND, "dead-letters"], id="topics"),
        pytest.param(REFERENCE, [name.name for name in ALL_NAMES], id="names"),
        pytest.param(REFERENCE, list(expression_functions.FUNCTIONS), id="functions"),
    ],
)
def test_the_documentation_has_a_word_on_each(text: str, words: list[str]) -> None:
    missing = [word for word in words if not re.search(rf"`[^`\n]*(?<![\w.-]){re.escape(word)}(?![\w-])", text)]
    assert words
    assert not missing


def keys_of(part: Any) -> Iterator[tuple[str, ...]]:
    """The path of every key that can be written, names that are free as <name>."""
    if isinstance(part, list):
        for one in part:
            yield from keys_of(one)
    if not isinstance(part, dict):
        return
    for combined in ("anyOf", "items"):
        yield from keys_of(part.get(combined))
    for path in keys_of(part.get("additionalProperties")):
        yield "<name>", *path
    for key, value in part.get("properties", {}).items():
        yield (key,)
        yield from ((key, *path) for path in keys_of(value))


@pytest.mark.parametrize("file", ["policy", "events", "definitions", "features", "tiers", "calendar", "score"])
def test_the_reference_has_every_key_of_a_file(file: str) -> None:
    said = schema.rule_file_schemas(None, "")[f"{file}.json"]
    listed = dict(
        re.findall(r"^\| `([^`]+)` \| (?:yes)? \| (.*) \|$", REFERENCE.partition(f"### {file}.yaml")[2], re.M)
    )
    alike = {path for path, text in listed.items() if text.startswith("As `")}
    for path in keys_of(said):
        above = {".".join(path[:n]) for n in range(1, len(path))}
        assert ".".join(path) in listed or above & alike, path


def test_the_reference_is_that_of_the_code() -> None:
    assert reference.render() == REFERENCE, "run make schemas"


def test_the_changelog_names_the_version() -> None:
    version = __version__.partition(".dev")[0]
    assert f"## [{version}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


README = (ROOT / "README.md").read_text(encoding="utf-8")
DECLARED = (
    "events",
    "calendar",
    "teams",
    "advisors",
    "assignment",
    "features",
    "tiers",
    "score",
    "portrait",
    "policy",
    "definitions",
)
DECLARATIONS = tuple(f"{name}.yaml" for name in DECLARED)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_alert_in_the_readme_is_what_its_rule_publishes_for_its_event() -> None:
    shipped = read_directory(ROOT / "rules")
    files = {name: text for name, text in shipped.items() if name in DECLARATIONS or name.endswith(".csv")}
    rule_set = load(files | {"readme.yaml": blocks("yaml")[0]})
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    event, alert = blocks("json")
    client_id = json.loads(event)["client_id"]
    known = {"event_id": "p-1", "client_id": client_id, "time": "2026-11-02T09:00:00+08:00", "type": "individual"}
    profile = json.dumps(known | {"advisor_id": "adv-7", "language": "en"})
    inputs: list[Input] = []
    for topic, value in (("profiles", profile), ("balances", event)):
        taken = decode(topic, client_id.encode(), value.encode(), -1)
        assert isinstance(taken, Taken)
        assert not taken.unread
        inputs.append((topic, taken.event))
    messages = decide(compile_rule_set(rule_set), {}, inputs).messages
    published = [json.loads(message.value or b"") for message in messages if message.topic == "alerts"]
    assert published == [json.loads(alert)]
    assert list(published[0]) == list(json.loads(alert))


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_every_page_has_its_place_in_the_site() -> None:
    """`make docs` then builds it, and fails on links that lead nowhere."""
    named = re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(ROOT)) for page in PAGES), "name it in mkdocs.yml"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_named_files_exist(page: Path) -> None:
    """A path in a document leads to a file or folder. The changelog and what was rejected may name what is gone."""
    if page.name == "CHANGELOG.md":
        return
    named = re.findall(r"\b(?:engine|tests|benchmarks)/[\w./*-]*\w", page.read_text(encoding="utf-8"))
    assert not [path for path in named if not list(ROOT.glob(path))]
