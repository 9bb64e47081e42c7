"""The command `engage capacity`: how large an installation has to be.

Enters: what a firm has. Leaves: a table or JSON. Holds: it asks neither Kafka nor Redis.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from engine.cli.odd import Finite

COUNT = click.IntRange(1, 10**12)


@click.group()
def commands() -> None:
    """Of planning."""


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
