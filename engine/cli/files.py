"""Commands that only write files or lines: `simulate | schemas`.

Enters: arguments. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.cli.odd import DIRECTORY, Finite, PathOf
from engine.core.contract.topics import inbound_topics
from engine.runtime.errors import Refused

commands = click.Group()  # main.py hangs each of them on `engage`


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
def schemas(check_only: bool, rules: Path | None, directory: Path) -> None:
    """Write the JSON Schemas and the AsyncAPI document of all that crosses the border, and those of rule files."""
    from engine.publish import schemas as schemas_

    rule_set = None
    if rules is not None:
        from engine.runtime.rule_sets.archive import load_directory

        try:
            rule_set = load_directory(rules)
        except Refused as error:
            raise click.ClickException(str(error)) from error
    lines = schemas_.check(directory, rule_set) if check_only else schemas_.write(directory, rule_set)
    for line in lines:
        click.echo(line)
    sys.exit(1 if check_only and lines else 0)
