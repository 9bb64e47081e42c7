"""Commands that can do without Kafka and Redis: `simulate | schemas | capacity | replay | init | check | lint | fmt |
test | send | templates`.

Enters: arguments. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.odd import DIRECTORY, FILE, NEW_FILE, Finite, PathOf
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, answer, counted, progress, progressing, unusable
from engine.core.contract.topics import inbound_topics
from engine.core.firm_time import day_number, day_start_ms
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.core.rules.ruleset import RuleSet
    from engine.rulefile.lint.texts import Sample

commands = click.Group()  # main.py hangs each of them on `engage`

_FORMAT = click.option(
    "--format", "format_", type=click.Choice(["text", "json", "sarif", "github"]), default="text", show_default=True
)
_JSON = click.option("--json", "as_json", is_flag=True, help="the same as --format json")
_DAY = click.DateTime(["%Y-%m-%d"])


@commands.command()
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--clients", "client_count", type=click.IntRange(1, 10_000_000), default=2000, show_default=True)
@click.option(
    "--days", type=Finite(0, 36_500, min_open=True), default=30, show_default=True, help="of history before --end"
)
@click.option("--end", default="2026-11-01T00:00:00Z", show_default=True, help="RFC 3339 time")
@click.option("--count", type=click.IntRange(min=1), help="at most so many records")
@click.option("--topics", "topic_names", default=",".join(inbound_topics()), show_default=True, help="comma-separated")
@click.option("--bad-share", type=Finite(0, 1), default=0, show_default=True, help="share of records made bad")
@click.option(
    "--odd-share",
    type=Finite(0, 1),
    default=0,
    show_default=True,
    help="share of records with a field that cannot be read or is absent",
)
def simulate(
    seed: int,
    client_count: int,
    days: float,
    end: str,
    count: int | None,
    topic_names: str,
    bad_share: float,
    odd_share: float,
) -> None:
    """Write a broker's records to standard output, an ndjson line each. The same arguments give the same bytes."""
    from engine.demo import simulator

    names = topic_names.split(",")
    unknown = [name for name in names if name not in inbound_topics()]
    if unknown:
        raise click.UsageError(f"--topics: unknown {', '.join(unknown)}; there are {', '.join(inbound_topics())}")
    try:
        with progressing("simulate", beside_output=True) as moved:
            simulator.write(
                sys.stdout.buffer,
                seed=seed,
                clients=client_count,
                days=days,
                end=end,
                topics=names,
                count=count,
                bad_share=bad_share,
                odd_share=odd_share,
                moved=moved,
            )
    except ValueError as error:
        raise click.UsageError(f"--end: {error}") from error
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough


@commands.command()
@click.option(
    "--check", "check_only", is_flag=True, help="change nothing; exit status 1 when a file differs from the models"
)
@click.option(
    "--rules",
    type=DIRECTORY,
    help="put the names of these rule files, such as features and tiers, into the schemas of rule files",
)
@click.argument("directory", type=PathOf("folder"), default=Path("schemas"))
@settings_options("schemas_url")
@JSON
def schemas(
    check_only: bool, rules: Path | None, directory: Path, as_json: bool, settings_file: Path | None, **given: Any
) -> None:
    """Write the JSON Schemas and the AsyncAPI document of all that crosses the border, and those of rule files."""
    from engine.publish import schemas as schemas_

    rule_set, url = None, load_settings(settings_file, **given).schemas_url
    if rules is not None:
        from engine.runtime.rule_sets.archive import load_directory

        try:
            rule_set = load_directory(rules)
        except Refused as error:
            raise click.ClickException(str(error)) from error
    lines = (schemas_.check if check_only else schemas_.write)(directory, rule_set, url)
    answer(as_json, {"files": lines}, lines)
    sys.exit(1 if check_only and lines else 0)


COUNT: Final = click.IntRange(1, 10**12)


@commands.command()
@click.option("--clients", type=COUNT, required=True, help="clients in all")
@click.option("--events-per-day", type=COUNT, required=True, help="trades, logins, balances and profiles on a full day")
@click.option("--peak", type=Finite(1, 86_400), default=8.0, show_default=True, help="busiest second / mean")
@click.option("--event-bytes", type=Finite(1, 65_536), default=250.0, show_default=True)
@click.option("--keep-days", type=Finite(0.1, 36_500), default=7.0, show_default=True, help="of the topics")
@click.option("--history-days", type=Finite(0.1, 36_500), default=30.0, show_default=True, help="to backfill")
@click.option("--redis-gb", type=Finite(0.1, 100_000), default=32.0, show_default=True, help="of one server")
@click.option("--replication", type=click.IntRange(1, 9), default=3, show_default=True, help="copies in Kafka")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def capacity(as_json: bool, **given: float) -> None:
    """Partitions, workers, Redis and ledger for so many clients and events, and how long sweeps and rebuilds take."""
    from engine.operations.capacity import Coefficients, Firm, lines, plan

    firm, cost = Firm(**given), Coefficients.read()  # type: ignore[arg-type]
    made = plan(firm, cost)
    if as_json:
        click.echo(json.dumps({"firm": asdict(firm), "plan": made.as_dict(), "coefficients": asdict(cost)}))
        return
    for line in lines(made, cost):
        click.echo(line)


@commands.command("replay")
@click.argument("file", required=False, type=PathOf("any"))
@click.option("--from-ledger", is_flag=True, help="decide again what a running engine recorded, in its order")
@click.option("--until", help="RFC 3339 time up to which timers run after the file's last record")
@click.option("--json", "as_json", is_flag=True, help="what it came to as one JSON object, on standard error")
@settings_options("rules", "kafka", "prefix", "app_id")
def replay_command(
    file: Path | None, from_ledger: bool, until: str | None, as_json: bool, settings_file: Path | None, **given: Any
) -> None:
    """Decide without publishing: actions go to standard output, a line each; the states' hash comes last, on
    standard error.
    """
    settings = load_settings(settings_file, **given)
    if (file is None) == (not from_ledger):
        raise click.UsageError("give a FILE (- for standard input), or --from-ledger")
    if from_ledger and given["rules"] is not None:
        raise click.UsageError(
            "--from-ledger decides each unit by the rules that the engine recorded with it, so --rules would change "
            "nothing: leave it out. There is no replay of recorded events under other rules yet"
        )
    from engine.core.contract.events import parse_time_ms
    from engine.operations import replay
    from engine.processors.assignment import ASSIGNMENT
    from engine.runtime.kafka import topics

    try:
        until_ms = parse_time_ms(until) if until else None
    except ValueError as error:
        raise click.UsageError(f"--until: {error}") from error
    replayed = replay.Replayed()
    if from_ledger:

        async def decide_again() -> list[Any]:
            clients = real_clients()
            partitions = await topics.partition_count(settings, clients)
            messages = await replay.replay_ledger(settings, clients, partitions, replayed, moved)
            return messages + await replay.replay_ledger(settings, clients, partitions, replayed, moved, ASSIGNMENT)

        with progressing("replay") as moved:
            messages: Any = run_to_the_end(decide_again())
    else:
        messages = _replay_file(settings, file or Path("-"), until_ms, replayed)
    for message in messages:
        if message.topic in replay.SHOWN:
            click.echo(replay.as_line(message))
    if as_json:
        click.echo(json.dumps(replayed.as_dict(of_a_file=not from_ledger), ensure_ascii=False), err=True)
    else:
        for line in replayed.lines(of_a_file=not from_ledger):
            click.echo(line, err=True)
    sys.exit(1 if replayed.differences else 0)


def _replay_file(settings: Settings, file: Path, until_ms: int | None, replayed: Any) -> Iterator[Any]:
    from engine.core.plan.compile import compile_rule_set
    from engine.operations import replay
    from engine.runtime.rule_sets.archive import load_directory

    if settings.rules is None:
        raise click.UsageError("a replay of a file needs --rules DIRECTORY")
    if str(file) != "-" and (os.path.isdir(file) or not os.path.exists(file)):  # with names that are too long, too
        raise click.UsageError(f"{file}: no such file")
    try:
        plan = compile_rule_set(load_directory(settings.rules))
        size = os.path.getsize(file) if os.path.isfile(file) else None
        with click.open_file(str(file), "rb") as lines, progress("replay", size, beside_output=True) as bar:
            records = replay.read_file(counted(lines, bar), str(file))
            yield from replay.replay_records(plan, records, replayed, until_ms)
    except (Refused, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@commands.command()
@click.argument("directory", type=PathOf("folder"))
@click.option("--shipped", is_flag=True, help="begin with all rules that come with Engage, not with one")
@JSON
def init(directory: Path, shipped: bool, as_json: bool) -> None:
    """Begin with rules of your own: DIRECTORY/rules with a tested rule, DIRECTORY/schemas for your editor."""
    from engine.publish import starter

    try:
        written = starter.begin(directory, everything=shipped)
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
@click.argument("file", type=PathOf("file"))
@click.option("--per-second", type=click.IntRange(1, 1_000_000), help="at most so many  [default: as fast as it goes]")
@settings_options("kafka", "prefix")
@JSON
def send(file: Path, per_second: int | None, as_json: bool, settings_file: Path | None, **given: Any) -> None:
    """Put the records of FILE (- for standard input), as simulate writes them, on their topics. Order is kept."""
    from engine.operations import record_file

    settings = load_settings(settings_file, **given)
    size = os.path.getsize(file) if os.path.isfile(file) else None
    with click.open_file(str(file), "rb") as lines, progress("send", size) as bar:
        sent = run_to_the_end(record_file.send(settings, real_clients(), counted(lines, bar), per_second))
    answer(as_json, {"sent": sent}, [f"sent {sent}"])


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
    now_ms = real_clients().wall_ms() if day is None else day_start_ms(day_number(day.date()))
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
