"""The command line: `engage run | demo | dev | topics | client | states | dead-letters | replay | snapshot | rebuild |
trim | accept-loss`, those that only write files, from files.py, those about rule files, from rules.py, `load`, from
load.py, and `capacity`, from planning.py.

Enters: arguments, environment, settings file. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine import __version__
from engine.cli import explain, files, load, planning
from engine.cli import rules as cli_rules
from engine.cli.odd import DIRECTORY, FILE, NEW_FILE, PathOf, refuse_odd_values
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.core.contract.outbound import Rejection
from engine.runtime import settings as settings_
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis, Clients


async def _with_redis(settings: Settings, work: Callable[[Clients, AnyRedis], Coroutine[Any, Any, Any]]) -> Any:
    clients = real_clients()
    async with clients.redis(settings) as redis:
        return await work(clients, redis)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="engage")
def main() -> None:
    """Engage: an event-driven engagement engine for securities firms."""


for _group in (cli_rules, explain, files, load, planning):
    for _command in _group.commands.commands.values():
        main.add_command(_command)

_CONNECTION = ("kafka", "redis", "prefix", "app_id")


@main.command()
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
)
def run(settings_file: Path | None, **given: Any) -> None:
    """Run a worker until SIGTERM. Start as many as there are cores and machines; they share the partitions."""
    settings = load_settings(settings_file, **given)
    if settings.rules is not None and not os.path.isdir(settings.rules):  # never raises
        named = [name for name, value in given.items() if value is not None]
        source = settings_.source("rules", named, settings_file)
        raise click.UsageError(f"rules: {settings.rules} is no directory of rule files ({source})")
    if settings.watch and settings.rules is None:
        raise click.UsageError(
            "watch: there is nothing to watch without rules: give --rules DIRECTORY, or leave it out"
        )
    from engine.runtime.folding import folded
    from engine.runtime.worker import worker
    from engine.runtime.worker.ending import leave, stop_on_signals

    gc.collect()
    gc.freeze()  # what is loaded now stays; client states have no cycles, so young objects need few collections
    gc.set_threshold(100_000, 20, 100)

    async def work() -> None:
        clients = real_clients()
        stop = stop_on_signals(clients)
        async with folded():
            await worker.run(worker.Worker(settings, clients), stop)
        leave()

    run_to_the_end(work())


@main.command()
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


@main.command()
def dev() -> None:
    """Start a small Kafka and a Redis on this machine, for trials, until Ctrl-C: no Docker, nothing is kept."""
    from engine.core.contract.outbound import OUTBOUND
    from engine.core.contract.topics import DEAD_LETTERS, inbound_topics
    from engine.demo.embedded import EmbeddedError, serve

    click.echo("# Kafka and Redis for trials; Ctrl-C ends them. In another terminal, and then `engage run`:", err=True)
    try:
        serve([*inbound_topics(), *OUTBOUND, DEAD_LETTERS], click.echo)
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@settings_options("kafka", "prefix", "app_id")
@click.option("--create", is_flag=True, help="create what is missing")
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    default=12,
    show_default=True,
    help="of inbound topics and ledger; final",
)
@click.option("--replication-factor", type=click.IntRange(1, 9), default=1, show_default=True)
def topics(settings_file: Path | None, create: bool, partitions: int, replication_factor: int, **given: Any) -> None:
    """Say what the topics lack, or create them. Exit status 1 when something differs from what the engine needs."""
    from engine.runtime.kafka import topics as topics_

    settings = load_settings(settings_file, **given)
    if create:
        created, differing = run_to_the_end(topics_.create(settings, real_clients(), partitions, replication_factor))
        for name in created:
            click.echo(f"{name}: created")
    else:
        missing, differing = run_to_the_end(topics_.differences(settings, real_clients()))
        differing = [f"{topic.name}: missing; create it with `engage topics --create`" for topic in missing] + differing
    for line in differing:
        click.echo(line)
    if not differing:
        click.echo("all topics are as the engine needs them")
    sys.exit(1 if differing else 0)


@main.command()
@click.argument("client_id")
@settings_options("redis", "app_id")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def client(client_id: str, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Show a client: tier and its history, public fields, last actions and why others were not sent."""
    from engine.runtime.redis import reading

    settings = load_settings(settings_file, **given)
    record = run_to_the_end(
        _with_redis(settings, lambda _, redis: reading.read_client(redis, settings.app_id, client_id))
    )
    if record is None:
        raise click.ClickException(f"no client {client_id} is known")
    click.echo(json.dumps(record, ensure_ascii=False) if as_json else reading.on_one_screen(record))


@main.command()
@settings_options("redis", "app_id")
def states(settings_file: Path | None, **given: Any) -> None:
    """Print the number of clients and the hash of all their states, as a replay does."""
    from engine.operations import replay
    from engine.runtime.redis import reading

    settings = load_settings(settings_file, **given)

    async def read(_: Clients, redis: AnyRedis) -> dict[str, bytes]:
        return {client_id: state async for client_id, state in reading.all_states(redis, settings.app_id)}

    found = run_to_the_end(_with_redis(settings, read))
    click.echo(f"clients {len(found)}\nstates {replay.states_hash(found.items())}")


@main.command("replay")
@click.argument("file", required=False, type=PathOf("any"))
@click.option("--from-ledger", is_flag=True, help="decide again what a running engine recorded, in its order")
@click.option("--until", help="RFC 3339 time up to which timers run after the file's last record")
@settings_options("rules", "kafka", "prefix", "app_id")
def replay_command(
    file: Path | None, from_ledger: bool, until: str | None, settings_file: Path | None, **given: Any
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
            return await replay.replay_ledger(settings, clients, partitions, replayed)

        messages: Any = run_to_the_end(decide_again())
    else:
        messages = _replay_file(settings, file or Path("-"), until_ms, replayed)
    for message in messages:
        if message.topic in replay.SHOWN:
            click.echo(replay.as_line(message))
    click.echo(
        f"events {replayed.events}\nrejected {replayed.rejected}\nclients {len(replayed.states)}\nstates "
        f"{replayed.hash}",
        err=True,
    )
    if from_ledger:
        click.echo(f"units {replayed.units}\ndifferences {len(replayed.differences)}", err=True)
    if replayed.applied:
        click.echo(f"{replayed.applied} units decided by an older engine were applied, not decided again", err=True)
    if replayed.loaded:
        click.echo(f"{replayed.loaded} units of a load were applied as they are", err=True)
    for rejection in replayed.rejections(of_a_file=not from_ledger):
        click.echo(rejection, err=True)
    for rule_id, times in replayed.unknown_days.items():
        click.echo(
            f"{rule_id}: {times} not sent (day_unknown): a list of days or the calendar has ended; add the next days",
            err=True,
        )
    for difference in replayed.differences:
        click.echo(difference, err=True)
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
        with click.open_file(str(file), "rb") as lines:
            yield from replay.replay_records(plan, replay.read_file(lines, str(file)), replayed, until_ms)
    except (Refused, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


_REASONS = click.Choice([reason.value for reason in Rejection])


@main.group("dead-letters", invoke_without_command=True)
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
        return [letter async for letter in letters.read_all(settings, real_clients())]

    for line in letters.listed(run_to_the_end(read()), reason, as_json):
        click.echo(line)


@dead_letters.command("resend")
@settings_options("kafka", "prefix", "app_id")
@click.argument("ids", nargs=-1)
@click.option("--reason", type=_REASONS, help="all letters of this reason")
def resend_letters(settings_file: Path | None, ids: tuple[str, ...], reason: str | None, **given: Any) -> None:
    """Send letters (IDS as listed, or all of a reason) to the topic they came from. Each can be re-sent once."""
    from engine.operations import dead_letters as letters

    if not ids and reason is None:
        raise click.UsageError(
            "name the letters to re-send (`engage dead-letters list --reason ...` shows their ids), or give --reason"
        )
    settings = load_settings(settings_file, **given)
    sent, left = run_to_the_end(letters.resend(settings, real_clients(), ids, reason))
    for letter in sent:
        click.echo(f"{letter.id}: re-sent; it was refused as {letter.reason}: {letter.error}")
    for line in left:
        click.echo(line)
    sys.exit(1 if left and not reason else 0)


@main.command()
@settings_options("redis", "app_id")
@click.argument("file", type=NEW_FILE)
def snapshot(file: Path, settings_file: Path | None, **given: Any) -> None:
    """Write all states to FILE, while workers run."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    taken = run_to_the_end(_with_redis(settings, lambda _, redis: snapshots.take(settings, redis, file)))
    click.echo(f"clients {taken}")


@main.command()
@settings_options(*_CONNECTION)
@click.option("--snapshot", "file", type=FILE, help="begin with this; else with the whole ledger")
def rebuild(file: Path | None, settings_file: Path | None, **given: Any) -> None:
    """Make an emptied Redis whole again from a snapshot and the ledger. Stop all workers first."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    rebuilt = run_to_the_end(
        _with_redis(settings, lambda clients, redis: snapshots.rebuild(settings, clients, redis, file))
    )
    click.echo(f"clients {rebuilt.clients}\nunits {rebuilt.units}")


@main.command()
@settings_options(*_CONNECTION)
@click.option("--snapshot", "file", type=FILE, required=True, help="the newest; keep it safe")
def trim(file: Path, settings_file: Path | None, **given: Any) -> None:
    """Delete what the ledger no longer needs: all that the snapshot covers and Redis has on disk."""
    from engine.operations import snapshot as snapshots

    settings = load_settings(settings_file, **given)
    beginnings = run_to_the_end(
        _with_redis(settings, lambda clients, redis: snapshots.trim(settings, clients, redis, file))
    )
    for partition, beginning in beginnings.items():
        click.echo(f"partition {partition}: the ledger begins at {beginning}")


@main.command("accept-loss")
@settings_options(*_CONNECTION)
@click.option("--yes", is_flag=True, help="go on without them; else they are only listed")
def accept_loss(yes: bool, settings_file: Path | None, **given: Any) -> None:
    """List events that Kafka deleted before they were decided, and go on without them. Stop all workers first."""
    from engine.operations import accept_loss as lost_events

    settings = load_settings(settings_file, **given)
    missing = run_to_the_end(
        _with_redis(
            settings,
            lambda clients, redis: lost_events.give_up(settings, clients, redis, click.echo, really=yes),
        )
    )
    click.echo("nothing is missing" if not missing else "workers go on after these" if yes else "nothing was changed")
    sys.exit(1 if missing and not yes else 0)


refuse_odd_values(main)

if __name__ == "__main__":
    main()
