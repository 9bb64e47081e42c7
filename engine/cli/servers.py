"""Commands that need servers, or start them: `engage run | demo | dev | topics | client | states | dead-letters |
snapshot | rebuild | trim | accept-loss | backfill`.

Enters: arguments, environment, settings file. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.odd import DIRECTORY, FILE, NEW_FILE
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, Commands, answer, progressing
from engine.core.contract.outbound import Rejection
from engine.runtime import settings as settings_
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis, Clients


async def _with_redis(settings: Settings, work: Callable[[Clients, AnyRedis], Coroutine[Any, Any, Any]]) -> Any:
    clients = real_clients()
    async with clients.redis(settings) as redis:
        return await work(clients, redis)


commands = click.Group()  # main.py hangs each of them on `engage`
_CONNECTION = ("kafka", "redis", "prefix", "app_id")


@commands.command()
@settings_options(
    *_CONNECTION,
    "rules",
    "watch",
    "web_host",
    "web_port",
    "log_level",
    "log_format",
    "clock",
    "cache_mb",
    "batch_records",
    "redis_never_evicts",
    "schemas_url",
)
def run(settings_file: Path | None, **given: Any) -> None:
    """Run a worker until SIGTERM. Start as many as there are cores and machines; they share the partitions."""
    settings = load_settings(settings_file, people=False, **given)
    if settings.rules is not None and not os.path.isdir(settings.rules):  # never raises
        named = [name for name, value in given.items() if value is not None]
        source = settings_.source("rules", named, settings_file)
        raise click.UsageError(f"rules: {settings.rules} is no directory of rule files ({source})")
    if settings.watch and settings.rules is None:
        raise click.UsageError(
            "watch: there is nothing to watch without rules: give --rules DIRECTORY, or leave it out"
        )
    from engine.processors.assignment import ASSIGNMENT
    from engine.processors.engagement import ENGAGEMENT
    from engine.runtime.folding import folded
    from engine.runtime.worker import worker
    from engine.runtime.worker.event_loop import leave, stop_on_signals

    gc.collect()
    gc.freeze()

    async def work() -> None:
        clients = real_clients()
        stop = stop_on_signals(clients)
        async with folded():
            await worker.run(worker.Worker(settings, clients, processors=(ENGAGEMENT, ASSIGNMENT)), stop)
        leave()

    run_to_the_end(work())


@commands.command()
@click.option(
    "--seconds",
    type=click.IntRange(5, 10_000_000),
    help="stop by itself, print a summary, exit 0 only if all went well",
)
@click.option("--rules", type=DIRECTORY, help="directory of rule files  [default: those that come with Engage]")
def demo(seconds: int | None, rules: Path | None) -> None:
    """Play a broker's clients on an embedded Kafka and Redis, and show what the engine does."""
    from engine.demo.demo import run_demo

    sys.exit(run_demo(seconds, rules))


@commands.command()
def dev() -> None:
    """Start a small Kafka and a Redis on this machine, for trials, until Ctrl-C: no Docker, nothing is kept."""
    from engine.demo.embedded import EmbeddedError, serve
    from engine.runtime.kafka.topics import needed

    click.echo("# Kafka and Redis for trials; Ctrl-C ends them. In another terminal, and then `engage run`:", err=True)
    try:
        serve([topic.name for topic in needed(load_settings(None))], click.echo)
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from error


@commands.command()
@settings_options("kafka", "prefix", "app_id")
@click.option("--create", is_flag=True, help="create what is missing")
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    default=12,
    show_default=True,
    help="of inbound topics and ledger; final",
)
@click.option("--replication-factor", type=click.IntRange(1, 9), default=1, show_default=True, help="copies of each")
@JSON
def topics(
    settings_file: Path | None, create: bool, partitions: int, replication_factor: int, as_json: bool, **given: Any
) -> None:
    """Say what the topics lack, or create them. Exit status 1 when something differs from what the engine needs."""
    from engine.runtime.kafka import topics as topics_

    settings = load_settings(settings_file, **given)
    created: list[str] = []
    missing: list[str] = []
    if create:
        created, differing = run_to_the_end(topics_.create(settings, real_clients(), partitions, replication_factor))
    else:
        lacking, differing = run_to_the_end(topics_.differences(settings, real_clients()))
        missing = [topic.name for topic in lacking]
    lines = [f"{name}: created" for name in created]
    lines += [f"{name}: missing; create it with `{settings.create_topics}`" for name in missing]
    good = not (missing or differing)
    answer(
        as_json,
        {"created": created, "missing": missing, "differing": differing},
        [*lines, *differing, *(["all topics are as the engine needs them"] if good else [])],
    )
    sys.exit(0 if good else 1)


@commands.command()
@click.argument("client_id")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def client(client_id: str, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Show a client: tier and its history, public fields, journeys, last actions and why others were not sent.

    What a journey waits for is said by the active rules, unless --rules names a directory.

    What caps, quiet hours and budgets leave for the next action of a rule: `engage explain CLIENT --rule RULE`. A
    budget is over all clients; here is what it stopped (no_budget) or holds.
    """
    from engine.operations import explain as explaining
    from engine.runtime.redis import reading

    settings = load_settings(settings_file, **given)

    async def read(clients: Clients, redis: AnyRedis) -> tuple[dict[str, Any] | None, str]:
        record = await reading.read_client(redis, settings.app_id, client_id)
        if record is None or all(one["ended"] for one in record["journeys"]):
            return record, ""
        return record, await explaining.tell_waits(settings, clients, redis, client_id, record["journeys"])

    record, unknown = run_to_the_end(_with_redis(settings, read))
    if record is None:
        raise click.ClickException(f"no client {client_id} is known")
    click.echo(json.dumps(record, ensure_ascii=False) if as_json else reading.on_one_screen(record))
    if unknown:
        click.echo(f"what its journeys wait for is not known: {unknown}", err=True)


@commands.command()
@settings_options("redis", "app_id")
@JSON
def states(settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Print the number of clients and the hash of all their states, as a replay does."""
    from engine.operations import replay
    from engine.runtime.redis import reading

    settings = load_settings(settings_file, **given)

    async def read(_: Clients, redis: AnyRedis) -> dict[str, bytes]:
        return {client_id: state async for client_id, state in reading.all_states(redis, settings.app_id, moved)}

    with progressing("states") as moved:
        found = run_to_the_end(_with_redis(settings, read))
    counted = {"clients": len(found), "states": replay.states_hash(found.items())}
    answer(as_json, counted, [f"{what} {value}" for what, value in counted.items()])


_REASONS = click.Choice([reason.value for reason in Rejection])


@commands.group("dead-letters", cls=Commands, invoke_without_command=True)
@click.pass_context
def dead_letters(context: click.Context) -> None:
    """Records that could not be read: list them by reason (the default), send those you pick again."""
    if context.invoked_subcommand is None:
        context.invoke(list_letters)


@dead_letters.command("list")
@settings_options("kafka", "prefix", "app_id")
@click.option("--reason", type=_REASONS, help="list the letters of this reason, not only counts")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a line, with key and value in base64")
def list_letters(settings_file: Path | None, reason: str | None, as_json: bool, **given: Any) -> None:
    """Count dead letters by reason and error, or list those of one reason."""
    from engine.operations import dead_letters as letters

    settings = load_settings(settings_file, **given)

    async def read() -> list[letters.DeadLetter]:
        with progressing("dead letters") as moved:
            return [letter async for letter in letters.read_all(settings, real_clients(), moved)]

    for line in letters.listed(run_to_the_end(read()), reason, as_json):
        click.echo(line)


@dead_letters.command("resend")
@settings_options("kafka", "prefix", "app_id")
@click.argument("ids", nargs=-1)
@click.option("--reason", type=_REASONS, help="all letters of this reason")
@JSON
def resend_letters(
    settings_file: Path | None, ids: tuple[str, ...], reason: str | None, as_json: bool, **given: Any
) -> None:
    """Send letters (IDS as listed, or all of a reason) to the topic they came from. Each can be re-sent once."""
    from engine.operations import dead_letters as letters

    if not ids and reason is None:
        raise click.UsageError(
            "name the letters to re-send (`engage dead-letters list --reason ...` shows their ids), or give --reason"
        )
    settings = load_settings(settings_file, **given)
    with progressing("dead letters") as moved:
        sent, left = run_to_the_end(letters.resend(settings, real_clients(), ids, reason, moved))
    lines = [f"{letter.id}: re-sent; it was refused as {letter.reason}: {letter.error}" for letter in sent]
    answer(as_json, {"sent": [letter.id for letter in sent], "left": left}, [*lines, *left])
    sys.exit(1 if left and not reason else 0)


@commands.command()
@settings_options("redis", "app_id")
@click.argument("file", type=NEW_FILE)
@JSON
def snapshot(file: Path, as_json: bool, settings_file: Path | None, **given: Any) -> None:
    """Write all states to FILE, while workers run."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    with progressing("snapshot") as moved:
        taken = run_to_the_end(_with_redis(settings, lambda _, redis: snapshots.take(settings, redis, file, moved)))
    answer(as_json, {"clients": taken}, [f"clients {taken}"])


@commands.command()
@settings_options(*_CONNECTION)
@click.option("--snapshot", "file", type=FILE, help="begin with this; else with the whole ledger")
@JSON
def rebuild(file: Path | None, as_json: bool, settings_file: Path | None, **given: Any) -> None:
    """Make an emptied Redis whole again from a snapshot and the ledger. Stop all workers first."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    with progressing("rebuild") as moved:
        rebuilt = run_to_the_end(
            _with_redis(settings, lambda clients, redis: snapshots.rebuild_all(settings, clients, redis, file, moved))
        )
    counted = {"clients": rebuilt.clients, "units": rebuilt.units, "pools": rebuilt.pools}
    answer(as_json, counted, [f"{what} {count}" for what, count in counted.items() if count or what != "pools"])


@commands.command()
@settings_options(*_CONNECTION)
@click.option("--snapshot", "file", type=FILE, required=True, help="the newest; keep it safe")
@JSON
def trim(file: Path, as_json: bool, settings_file: Path | None, **given: Any) -> None:
    """Delete what the ledger no longer needs: all that the snapshot covers and Redis has on disk."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    beginnings = run_to_the_end(
        _with_redis(settings, lambda clients, redis: snapshots.trim(settings, clients, redis, file))
    )
    lines = [f"partition {partition}: the ledger begins at {beginning}" for partition, beginning in beginnings.items()]
    answer(as_json, {"ledger_begins_at": beginnings}, lines)


@commands.command()
@settings_options("kafka", "redis", "prefix", "app_id")
@click.argument("features", metavar="FEATURE...", nargs=-1, required=True)
@JSON
def backfill(features: tuple[str, ...], settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Give features of the active rule set the past that they would have had, while workers run.

    Publish them first, with no rule that uses them yet. It can be run again at any time, and after any failure.
    """
    from engine.operations import backfill as backfills

    settings = load_settings(settings_file, **given)

    async def fill() -> backfills.Filled:
        clients, say = real_clients(), lambda line: click.echo(line, err=True)
        async with clients.redis(settings) as redis:
            return await backfills.run(settings, clients, redis, features, say, backfills.Sizes())

    filled = run_to_the_end(fill())
    found = {"clients": filled.clients, "changed": filled.changed, "units": filled.units}
    answer(as_json, found, [f"{what} {count}" for what, count in found.items()])


@commands.command("accept-loss")
@settings_options(*_CONNECTION)
@click.option("--yes", is_flag=True, help="go on without them; else they are only listed")
@JSON
def accept_loss(yes: bool, as_json: bool, settings_file: Path | None, **given: Any) -> None:
    """List events that Kafka deleted before they were decided, and go on without them. Stop all workers first."""
    from engine.operations import accept_loss as lost_events

    settings = load_settings(settings_file, **given)
    lost: list[str] = []
    missing = run_to_the_end(
        _with_redis(
            settings,
            lambda clients, redis: lost_events.give_up(settings, clients, redis, lost.append, really=yes),
        )
    )
    said = "nothing is missing" if not missing else "workers go on after these" if yes else "nothing was changed"
    answer(as_json, {"partitions": missing, "missing": lost, "accepted": bool(missing and yes)}, [*lost, said])
    sys.exit(1 if missing and not yes else 0)
