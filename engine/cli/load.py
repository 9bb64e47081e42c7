"""A past is decided, and nothing is sent: `engage load`, with which an installation begins; `engage simulate-policy`.

Enters: files or topics. Leaves: states, from which workers go on; what the contact policy stops; exit status 0 or 1.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.odd import DIRECTORY, FILE, NEW_FILE, PathOf
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, answer, counted, progress
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.core.plan.compile import Plan
    from engine.loading.deciding import Counts
    from engine.loading.loading import Order
    from engine.reports.stopped import Report

commands = click.Group()  # main.py hangs each of them on `engage`


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
@click.option("--dead-letters", type=NEW_FILE, default=Path("load-dead-letters.ndjson"), show_default=True)
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
