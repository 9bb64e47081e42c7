"""Commands about a directory of rule files, and nothing else: `engage init | check | lint | fmt | test | templates`.

Enters: arguments, rule files. Leaves: exit status 0 good, 1 found wrong, 2 used wrongly.
Holds: an operator waits for them each time, so no settings and no servers' clients are imported.
"""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.odd import DIRECTORY, FILE, NEW_FILE, PathOf
from engine.cli.output import JSON, answer, progressing, unusable
from engine.core.firm_time import day_number, day_start_ms
from engine.runtime.errors import Refused

if TYPE_CHECKING:
    from engine.core.rules.ruleset import RuleSet
    from engine.rulefile.lint.texts import Sample

commands = click.Group()  # main.py hangs each of them on `engage`

_FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help="text for people; sarif and github for code reviews",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="the same as --format json")
_DAY = click.DateTime(["%Y-%m-%d"])


@commands.command()
@click.argument("directory", type=PathOf("folder"))
@click.option("--shipped", is_flag=True, help="begin with all rules that come with Engage, not with one")
@click.option("--advisors", is_flag=True, help="these, and a small roster of advisors with their pools")
@JSON
def init(directory: Path, shipped: bool, advisors: bool, as_json: bool) -> None:
    """Begin with rules of your own: DIRECTORY/rules with a tested rule, DIRECTORY/schemas for your editor."""
    from engine.publish import starter

    try:
        written = starter.begin(directory, everything=shipped, advisors=advisors)
    except Refused as error:
        raise click.ClickException(str(error)) from error
    rules = directory / "rules"
    then = [f"next: engage check {rules}; engage test {rules}; engage run --rules {rules}"]
    answer(as_json, {"files": written}, [*(f"{name}: written" for name in written), *then])


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=PathOf("either"), metavar="PATH...")
@click.option("--check", "check_only", is_flag=True, help="write nothing; exit status 1 when a file would change")
@JSON
def fmt(paths: tuple[Path, ...], check_only: bool, as_json: bool) -> None:
    """Give rule files, or all of a directory, their usual layout. Comments stay, and the meaning does not change."""
    from engine.rulefile.tools.format import lay_out

    said: list[str] = []
    status = lay_out(paths, check_only, said.append)
    answer(as_json, {"good": status == 0, "files": said}, said)
    sys.exit(status)


@commands.command("test")
@click.argument("directory", type=DIRECTORY)
@click.option("--rule", metavar="ID", help="the tests of one rule")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@click.option(
    "--junit",
    metavar="FILE",
    type=NEW_FILE,
    help="write the results for a pipeline, too",
)
def test_rules(directory: Path, rule: str | None, as_json: bool, junit: Path | None) -> None:
    """Run the tests in rule files: each failure term by term, the branches that no test takes, rules without tests."""
    from engine.rulefile.report.trial import report_tests

    out = io.StringIO()
    with progressing("test") as moved:
        status = report_tests(directory, out, rule, as_json, junit, moved)
    if as_json:
        click.echo(out.getvalue(), nl=False)
    else:
        answer(False, {}, out.getvalue().splitlines())
    sys.exit(status)


@commands.command()
@click.argument("directory", type=DIRECTORY)
@click.option(
    "--schemas", "into", type=PathOf("folder"), help="write a JSON Schema of each template's parameters there"
)
@JSON
def templates(directory: Path, into: Path | None, as_json: bool) -> None:
    """List what has to be rendered: each template of a rule set, its parameters with their units, its channels."""
    from engine.rulefile.tools.templates import templates as templates_of
    from engine.runtime.rule_sets.archive import load_directory

    try:
        found = templates_of(load_directory(directory)).values()
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            for template in found:
                text = json.dumps(template.schema(), indent=2, ensure_ascii=False)
                (into / f"{template.name}.json").write_text(text + "\n", encoding="utf-8")
    except (Refused, OSError) as error:
        raise click.ClickException(str(error)) from error
    lines = [line for template in found for line in template.lines()]
    answer(as_json, {"templates": [template.as_json() for template in found]}, lines)


@commands.command()
@click.argument("directory", type=DIRECTORY)
@_FORMAT
@_JSON
def check(directory: Path, format_: str, as_json: bool) -> None:
    """Check rule files: every error with file, line and column. Exit status 1 when there is one, 2 without files."""
    from engine.core.rules.ruleset import RuleSet
    from engine.rulefile.read.load import DirectoryError, load, read_directory
    from engine.rulefile.report.check import check as check_rules
    from engine.rulefile.report.formats import errors, formatted

    format_ = "json" if as_json else format_
    if format_ == "text":
        out = io.StringIO()
        status = check_rules(directory, out)
        answer(False, {}, out.getvalue().splitlines())
        sys.exit(status)
    try:
        files = read_directory(directory)
    except DirectoryError as error:
        raise unusable(str(error)) from error
    result = load(files)
    found = [] if isinstance(result, RuleSet) else errors(result)
    if said := formatted(format_, directory, files, found):
        click.echo(said)
    sys.exit(1 if found else 0)


@commands.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--records", metavar="FILE", type=FILE, help="a sample of events, ndjson: what none of them had")
@click.option(
    "--on", "day", metavar="DAY", type=_DAY, help="what ends soon as of that day, such as 2026-06-01  [today]"
)
@_FORMAT
@_JSON
def lint(directory: Path, records: Path | None, day: datetime | None, format_: str, as_json: bool) -> None:
    """Report what is doubtful in rule files without errors. Exit status 1 with findings, 2 with errors."""
    from engine.core.rules.ruleset import RuleSet
    from engine.rulefile.lint.lint import lint as findings_of
    from engine.rulefile.read.load import DirectoryError, load, read_directory
    from engine.rulefile.report.formats import formatted
    from engine.runtime.clients import Clients

    try:
        files = read_directory(directory)
    except DirectoryError as error:
        raise unusable(str(error)) from error
    documents: dict[str, Any] = {}
    rule_set = load(files, documents)
    if not isinstance(rule_set, RuleSet):
        raise unusable(
            f"{directory} has {len(rule_set)} error{'s' if len(rule_set) > 1 else ''}: see `engage check {directory}`"
        )
    sample = _sample(records, rule_set) if records else None
    now_ms = Clients().wall_ms() if day is None else day_start_ms(day_number(day.date()))
    findings = findings_of(rule_set, documents, now_ms, sample)
    format_ = "json" if as_json else format_
    if said := formatted(format_, directory, files, findings):
        if format_ == "text":
            answer(False, {}, said.split("\n"))
        else:
            click.echo(said)
    sys.exit(1 if findings else 0)


def _sample(records: Path, rule_set: RuleSet) -> Sample:
    from engine.operations.replay import events_of_file
    from engine.rulefile.lint.texts import Sample

    try:
        with records.open("rb") as lines:
            return Sample.of(events_of_file(lines, str(records), rule_set.declared_types), rule_set.kinds)
    except (ValueError, OSError) as error:
        raise unusable(str(error)) from error
