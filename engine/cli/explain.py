"""`engage explain`: why rules fire for a client, or do not.

Enters: arguments, a client's state or records. Leaves: exit status 0 done, 1 refused, 2 used wrongly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.odd import FILE, check_question
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options

commands = click.Group()  # main.py hangs it on `engage`


@commands.command()
@click.argument("client_id", metavar="CLIENT")
@click.option("--rule", metavar="ID", help="show this rule in full, instead of a line for each")
@click.option("--at", metavar="TIME", help="a later time, such as '2026-11-02 10:00' (UTC+8); timers run up to it")
@click.option("--event", metavar="EVENT", help="what if: an event as tests write it, or a file that holds one")
@click.option("--snapshot", metavar="FILE", type=FILE, help="the client's state in this snapshot")
@click.option("--records", metavar="FILE", type=FILE, help="the client's records, ndjson")
@click.option("--personal", is_flag=True, help="show the values of fields that are declared personal")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
def explain(client_id: str, settings_file: Path | None, as_json: bool, rule: str | None, **given: Any) -> None:
    """Why rules fire for CLIENT or do not: each condition term by term, and what would change the answer.

    The client is read from Redis, unless a snapshot or records are named; the rules are the active ones, unless
    --rules names a directory.
    """
    from engine.operations import explain as explaining
    from engine.operations import explain_text as explaining_text
    from engine.runtime.errors import Refused

    source = {key: given.pop(key) for key in ("at", "event", "snapshot", "records", "personal")}
    check_question(source["at"], source["event"])
    settings = load_settings(settings_file, **given)
    try:
        account = run_to_the_end(explaining.account(settings, real_clients(), client_id, **source))
        lines = explaining_text.lines(account, rule, as_json)
    except (Refused, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in lines:
        click.echo(line)
