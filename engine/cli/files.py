"""Commands about records and files: `engage simulate | send | replay | load | simulate-policy | schemas | capacity`.

Enters: arguments, files or topics. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.odd import DIRECTORY, FILE, NEW_FILE, Finite, PathOf
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, answer, counted, progress, progressing
from engine.core.contract.topics import inbound_topics
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.core.plan.compile import Plan
    from engine.loading.deciding import Counts
    from engine.loading.loading import Order
    from engine.reports.stopped import Report

commands = click.Group()  # main.py hangs each of them on `engage`


@commands.command()
@click.option("--seed", type=int, default=7, show_default=True, help="the same seed gives the same file")
@click.option(
    "--clients",
    "client_count",
    type=click.IntRange(1, 10_000_000),
    default=2000,
    show_default=True,
    help="how many the broker has",
)
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
@click.option("--event-bytes", type=Finite(1, 65_536), default=250.0, show_default=True, help="of an event, on average")
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
@click.argument("files", nargs=-1, type=FILE)
@click.option("--topics", "from_topics", is_flag=True, help="the past is what the inbound topics hold, not FILES")
@click.option("--until", required=True, metavar="TIME", help="RFC 3339: where the past ends")
@click.option("--mapping", type=FILE, help="YAML: which columns of FILES are which fields of which topic")
@click.option(
    "--acted",
    type=click.Choice(["all", "cooldowns", "nothing"]),
    default="all",
    show_default=True,
    help="what counts of the actions that the past would have led to: all; cooldowns and daily caps, but nothing waits "
    "for an answer; or nothing",
)
@click.option("--dry-run", is_flag=True, help="decide all, write nothing; with --rules it needs no Kafka")
@click.option(
    "--dead-letters",
    type=NEW_FILE,
    default=Path("load-dead-letters.ndjson"),
    show_default=True,
    help="where to put records that are refused",
)
@click.option(
    "--work", type=PathOf("folder"), default=Path("engage-load"), show_default=True, help="where to sort FILES"
)
@click.option("--jobs", type=click.IntRange(1, 512), help="processes; as many as there are cores")
@settings_options("kafka", "redis", "prefix", "app_id", "rules")
@JSON
def load(files: tuple[Path, ...], settings_file: Path | None, from_topics: bool, as_json: bool, **given: Any) -> None:
    """Begin with a past: decide FILES (ndjson, CSV, Parquet), or what the topics hold, without sending anything.

    Stop all workers first. Run again after anything that ended it: it goes on where it stood.
    """
    if from_topics == bool(files):
        raise click.UsageError("give FILES, or --topics")
    if from_topics and given["mapping"] is not None:
        raise click.UsageError("--mapping is for FILES; what is on the topics are records already")
    ways = {name: given.pop(name) for name in ("until", "mapping", "acted", "dry_run", "dead_letters", "work", "jobs")}
    from engine.core.contract.events import parse_time_ms

    try:
        until_ms = parse_time_ms(ways["until"])
    except ValueError as error:
        raise click.UsageError(f"--until: {error}") from error
    settings = load_settings(settings_file, **given)
    loaded, dry = run_to_the_end(_load(settings, files, until_ms, from_topics, ways)), ways["dry_run"]
    if loaded is None:
        answer(as_json, {"done": False}, ["this load has come to its end before: nothing was to be done"])
        return
    from engine.loading.report import lines

    answer(as_json, {"done": not dry} | asdict(loaded), lines(loaded, ways["dead_letters"], dry_run=dry))


async def _load(
    settings: Settings, files: tuple[Path, ...], until_ms: int, from_topics: bool, ways: dict[str, Any]
) -> Counts | None:
    from engine.loading import committing, loading, sources, topics
    from engine.loading.deciding import Past
    from engine.loading.mapping import read_mapping
    from engine.loading.report import Progress

    clients = real_clients()
    now_ms = clients.wall_ms()
    if until_ms > now_ms:
        raise Refused("--until lies in the future: the past ends now at the latest")
    progress = Progress(lambda line: click.echo(line, err=True), asyncio.get_running_loop().time)
    past = Past(until_ms, ways["acted"], now_ms if ways["dry_run"] else None)
    mappings = read_mapping(ways["mapping"]) if ways["mapping"] else []
    parts = sources.parts_of(list(files), mappings)
    jobs = ways["jobs"] or len(os.sched_getaffinity(0))

    def order(partitions: int) -> Order:
        return loading.Order(parts, past, ways["work"], ways["dead_letters"], jobs, partitions)

    dry = ways["dry_run"]
    if dry and files and settings.rules is not None:
        return await loading.dry_run(order(jobs), _plan_of(settings.rules), clients.processes(jobs), progress)
    async with clients.redis(settings) as redis:
        begun = await committing.patiently(
            lambda: committing.start(settings, clients, redis, until_ms, dry=dry), progress, committing.START_TRIES
        )
        rows = topics.rows(settings, clients)
        if from_topics:
            if not dry and committing.has_ended(begun, past):
                return None
            parts = topics.parts(begun.begins)
        if dry:
            return await loading.dry_run(order(begun.partitions), begun.plan, clients.processes(jobs), progress, rows)
        return await committing.run(settings, clients, redis, order(begun.partitions), begun, progress, rows)


def _plan_of(rules: Path) -> Plan:
    from engine.core.plan.compile import compile_rule_set
    from engine.runtime.rule_sets.archive import load_directory

    return compile_rule_set(load_directory(rules))


@commands.command("simulate-policy")
@click.argument("records", type=FILE)
@click.option("--rules", type=DIRECTORY, required=True, help="directory of rule files")
@click.option("--against", type=DIRECTORY, help="other rules, which decide the same records; say what differs")
@click.option("--until", metavar="TIME", help="RFC 3339 time up to which timers run after the last record")
@click.option("--html", type=NEW_FILE, metavar="FILE", help="write the tables and pictures there, as one page")
@JSON
def simulate_policy(
    records: Path, rules: Path, against: Path | None, until: str | None, html: Path | None, as_json: bool
) -> None:
    """What the contact policy stops: decide RECORDS (ndjson, as `engage replay` reads them), and count the outcomes by
    reason, class and rule, the contacts by hour and by client.
    """
    from engine.core.contract.events import parse_time_ms
    from engine.reports import page, stopped, text

    try:
        until_ms = parse_time_ms(until) if until else None
    except ValueError as error:
        raise click.UsageError(f"--until: {error}") from error
    try:
        plans = [(directory, _plan_of(directory)) for directory in (rules, against) if directory is not None]
        with progress("simulate", os.path.getsize(records) * len(plans), beside_output=True) as bar:
            reports = [_reported(records, directory, plan, until_ms, bar) for directory, plan in plans]
        now, before = reports[0], reports[1] if against is not None else None
        if html is not None:
            made = page.page(now, before, records.name, real_clients().wall_ms())
            html.write_text(made, encoding="utf-8")
    except (Refused, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    written = [f"{html}: written"] if html is not None else []
    answer(as_json, stopped.as_dict(now, before), [*text.lines(now, before), *written])


def _reported(records: Path, directory: Path, plan: Plan, until_ms: int | None, bar: Any) -> Report:
    from engine.operations.replay import read_file
    from engine.reports.stopped import report

    with records.open("rb") as lines:
        return report(str(directory), plan, read_file(counted(lines, bar), str(records)), until_ms)
