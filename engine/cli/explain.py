"""Commands about clients: `engage explain`, `explain-assignment`, `handover`, `decisions`, `warnings`, `preview`,
`clients`, `work`, `reference-table`.

Enters: arguments, states or records. Leaves: exit status 0 done, 1 refused, 2 used wrongly.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engine.cli.odd import FILE, Finite, check_question
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, answer, progressing

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


@commands.command()
@click.argument("client_id", metavar="CLIENT")
@click.option("--days", type=Finite(0, 36_500, min_open=True), default=7.0, show_default=True, help="of the topic")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
@JSON
def decisions(client_id: str, days: float, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """What became of each rule that matched for CLIENT: sent or why not, until when, what would have to change.

    What is held is read from Redis, the rest from the topic of decisions, as far back as it is kept.
    """
    from engine.insight import decisions as decided
    from engine.operations import explain as explaining

    settings = load_settings(settings_file, **given)
    with progressing("decisions") as moved:
        found = run_to_the_end(explaining.decided(settings, real_clients(), client_id, days, moved))
    answer(as_json, decided.as_json(found), decided.lines(found))


@commands.command()
@click.option("--from", "begin", metavar="TIME", required=True, help="sent from then on: '2026-11-01 00:00' (UTC+8)")
@click.option("--to", "end", metavar="TIME", help="and before then  [now]")
@settings_options("kafka", "prefix")
@JSON
def warnings(begin: str, end: str | None, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """List the warnings of class risk: who handled each, when and how, escalations, and the time to each; as CSV.

    They are read from the topics of actions and outcomes, as far back as these are kept.
    """
    from engine.reports import warnings as reported
    from engine.rulefile.stories.story import firm_time_ms

    check_question(begin, None)
    check_question(end, None)
    settings, clients = load_settings(settings_file, **given), real_clients()
    to_ms = firm_time_ms(end) if end is not None else clients.wall_ms() + 1
    with progressing("partitions") as moved:
        found = run_to_the_end(reported.recorded(settings, clients, firm_time_ms(begin), to_ms, moved))
    answer(as_json, {"warnings": list(map(asdict, found))}, [reported.as_csv(found).removesuffix("\n")])


@commands.command()
@click.argument("client_id", metavar="CLIENT")
@click.option("--days", type=Finite(0, 400, min_open=True), default=90.0, show_default=True, help="how far ahead")
@click.option("--snapshot", metavar="FILE", type=FILE, help="the client's state in this snapshot, from its time on")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
@JSON
def preview(
    client_id: str, days: float, snapshot: Path | None, settings_file: Path | None, as_json: bool, **given: Any
) -> None:
    """What would reach CLIENT in the next days if nothing but time happened: sent, held, and why the rest is not.

    The rules are the active ones, unless --rules names a directory: then it shows what these would do from now on.
    """
    from engine.insight import preview as previews
    from engine.operations import explain as explaining

    settings = load_settings(settings_file, **given)
    found = run_to_the_end(explaining.foreseen(settings, real_clients(), client_id, days, snapshot))
    answer(as_json, previews.as_json(found), previews.lines(found))


@commands.command("explain-assignment")
@click.argument("request", metavar="REQUEST")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
@JSON
def explain_assignment(request: str, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Why a client got this advisor, or nobody: each candidate of the pool, with its load or what kept it; or why a
    task for an advisor waits.

    REQUEST is the id of the action of kind assignment, or of a record of kind task on assignment_requests. Who was
    answered is decided again from the ledger, by the rules of that time; what waits, and tasks, are shown as of now, by
    the active rules, unless --rules names a directory.
    """
    from engine.advisors import explaining

    settings = load_settings(settings_file, **given)
    found = run_to_the_end(explaining.account(settings, real_clients(), request))
    answer(as_json, explaining.as_json(found), explaining.lines(found))


@commands.command()
@click.argument("advisor", metavar="ADVISOR")
@click.option("--dry-run", is_flag=True, help="show who would get whom, and publish nothing")
@click.option("--per-second", type=click.IntRange(1, 1_000), default=1, show_default=True, help="clients given on")
@settings_options("rules", "kafka", "redis", "prefix", "app_id")
@JSON
def handover(
    advisor: str, dry_run: bool, per_second: int, settings_file: Path | None, as_json: bool, **given: Any
) -> None:
    """Give the clients of ADVISOR on to others of the pool: who gets whom, the loads before and after; then it is done.

    Run it again for those whom nobody could take: who has gone to another stays there.
    """
    from engine.advisors import handover as handing_over

    settings, clients = load_settings(settings_file, **given), real_clients()
    found = run_to_the_end(handing_over.planned(settings, clients, advisor))
    answer(as_json, handing_over.as_json(found), handing_over.lines(found))
    if not dry_run:
        run_to_the_end(handing_over.publish(settings, clients, found, per_second))


@commands.command("reference-table")
@click.argument("snapshot", type=FILE)
@click.option("--of", "name", required=True, metavar="NAME", help="a feature, or a number such as client.assets_cny")
@click.option("--where", metavar="CONDITION", help="only these clients, such as 'client.type == \"individual\"'")
@click.option("--at", metavar="TIME", help="when, such as '2026-11-02 10:00' (UTC+8)  [now]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object instead of the CSV file")
@settings_options("rules", "kafka", "prefix", "app_id")
def reference_table(
    snapshot: Path,
    name: str,
    where: str | None,
    at: str | None,
    as_json: bool,
    settings_file: Path | None,
    **given: Any,
) -> None:
    """Write a table of percentiles: what percentage of the clients in SNAPSHOT has less of NAME.

    It is the CSV file of a decision table, for definitions.yaml: `hit: first`, `otherwise: 0`.
    """
    from engine.operations.explain import plan_in_use
    from engine.operations.reference_table import reference_table as table_of
    from engine.rulefile.stories.story import firm_time_ms
    from engine.runtime.errors import Refused

    check_question(at, None)
    settings, clients = load_settings(settings_file, **given), real_clients()
    try:
        plan = run_to_the_end(plan_in_use(settings, clients))
        with progressing("clients") as moved:
            found = table_of(plan, snapshot, name, where, firm_time_ms(at) if at else clients.wall_ms(), moved)
    except (Refused, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    answer(as_json, asdict(found), [str(found).removesuffix("\n")])
    click.echo(f"{found.clients} clients, and {found.without} without {name}", err=True)


@commands.command("clients")
@click.option("--tier", help="only those in this tier")
@click.option("--segment", help="only those in this segment")
@click.option("--advisor", help="only those whom this advisor looks after")
@click.option("--stage", help="only those in this stage of life")
@click.option("--limit", type=click.IntRange(1), help="at most so many")
@click.option("--count", is_flag=True, help="how many there are, instead of their ids")
@settings_options("redis", "app_id")
@JSON
def clients_command(settings_file: Path | None, limit: int | None, count: bool, as_json: bool, **given: Any) -> None:
    """List clients, an id a line: those in all of the tier, segment, advisor and stage that are named."""
    from engine.runtime.protocol.writes import LISTED
    from engine.runtime.redis.lists import listed_clients

    values = {field: value for field in LISTED if (value := given.pop(field)) is not None}
    if not values:
        raise click.UsageError(f"name at least one of --{', --'.join(LISTED)}")
    settings = load_settings(settings_file, **given)

    async def read() -> tuple[int, list[str]]:
        shown, kept = 0, list[str]()
        async with real_clients().redis(settings) as redis:
            async for page in listed_clients(redis, settings.app_id, values):
                for client_id in page:
                    if shown == limit:
                        return shown, kept
                    shown += 1
                    if as_json:
                        kept.append(client_id)
                    elif not count:
                        click.echo(client_id)
        return shown, kept

    found, ids = run_to_the_end(read())
    answer(as_json, {"count": found} | ({} if count else {"clients": ids}), [found] if count else [])


@commands.command("work")
@click.argument("team", required=False)
@click.option("--advisor", help="instead of a team: what this advisor is to do")
@click.option("--limit", type=click.IntRange(1), help="the first so many")
@click.option("--count", is_flag=True, help="how much there is, instead of what")
@settings_options("redis", "app_id")
@JSON
def work_command(
    settings_file: Path | None,
    team: str | None,
    advisor: str | None,
    limit: int | None,
    count: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """What is open for a TEAM, or an advisor: alerts, tasks and assignments, the most urgent first, then the oldest."""
    from engine.runtime.redis.lists import open_work, work_of

    if (team is None) == (advisor is None):
        raise click.UsageError("name a team, or --advisor")
    settings, whose = load_settings(settings_file, **given), f"team:{team}" if team else f"advisor:{advisor}"

    async def read() -> tuple[int, list[dict[str, Any]]]:
        async with real_clients().redis(settings) as redis:
            if count:
                return await work_of(redis, settings.app_id, whose), []
            found = await open_work(redis, settings.app_id, whose, limit)
            return len(found), found

    number, found = run_to_the_end(read())
    shown = {"count": number} | ({} if count else {"work": found})
    answer(as_json, shown, [number] if count else [_work_line(one) for one in found])


def _work_line(one: dict[str, Any]) -> str:
    whom = f"advisor {one['advisor_id']}" if one["for"] == "advisor" else f"{one['for']} {one['team']}"
    state = one["state"].replace("_", " ")
    said = [f"{state} by {one['accepted_by']}" if one["accepted_by"] and one["state"] == "accepted" else state]
    said += [f"reminded {one['reminded']}"] if one["reminded"] else []
    said += ["overdue"] if one["overdue"] else []
    said += [f"escalated to {one['escalated']}"] if one["escalated"] else []
    said += [f"until {one['leaves']}"] if one.get("leaves") else []  # an older worker's record does not say so
    about = f"{one['kind']} {one['rule_id']}  {one['client_id']}  {one['action_id']}"
    return f"{one['priority']:>3}  {one['since']}  {about}  {whom}  {', '.join(said)}"
