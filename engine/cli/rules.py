"""Commands about rule sets: `engage diff | publish`, and `engage rules history | show | revert | approve | pause |
resume | status | top`.

Enters: arguments, rule files, the rule-set topic. Leaves: exit status 0 good, 1 refused or found wrong, 2 used wrongly.
Holds: nothing is decided here; each command imports what it needs when it runs, so that the others start at once.
"""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.odd import DIRECTORY, FILE, PathOf, urls
from engine.cli.options import load_settings, real_clients, run_to_the_end, settings_options
from engine.cli.output import JSON, Commands, answer, progressing, unusable
from engine.core.contract.message import rfc3339

if TYPE_CHECKING:
    from engine.core.rules.ruleset import RuleSet
    from engine.insight.outlook import Outlook
    from engine.runtime.rule_sets.archive import Entry, RuleSetArchive

commands = click.Group()  # main.py hangs each of them on `engage`

_TOPIC = settings_options("kafka", "prefix", "app_id")
_NAME = click.option("--as", "by", metavar="NAME", default=getpass.getuser, help="your name  [your login name]")
_UNCOUNTED = "nobody has counted on whom it acts at once: it waits for a second person; count with --snapshot FILE"
_NOTE = click.option("--note", required=True, help="why, in one line; the history keeps it")


@commands.command()
@click.argument("old")
@click.argument("new")
@_TOPIC
@click.option("--snapshot", metavar="FILE", type=FILE, help="count what teams and advisors who change or go have of it")
@click.option("--json", "as_json", is_flag=True, help="one JSON array")
def diff(old: str, new: str, settings_file: Path | None, snapshot: Path | None, as_json: bool, **given: Any) -> None:
    """Say what changed from rule set OLD to NEW, in words. Each is a directory, `live`, or a digest on the topic.

    Exit status 0 when they do the same, 1 when they differ, 2 when one cannot be used.
    """
    from engine.rulefile.tools.diff import Difference, differences
    from engine.rulefile.tools.effects import effects
    from engine.rulefile.tools.templates import breaking

    one, other = (_rule_set(which, settings_file, given) for which in (old, new))
    if Path(new).is_dir() and not Path(old).is_dir():  # as it would be published: what is paused stays so
        other = replace(other, paused=one.paused, resumed=one.resumed)
    found = [*differences(one, other), *breaking(one, other)]
    counted = _counted(one, other, snapshot) if snapshot is not None else []
    if as_json:
        staff = [Difference("staff", "", "counted", tuple(counted))] if counted else []
        shown = [asdict(difference) for difference in (*found, *staff)]
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        said = [line for difference in found for line in str(difference).split("\n")]
        answer(False, {}, [*(said or ["no difference in what they do"]), *effects(one, other), *counted])
    sys.exit(1 if found else 0)


def _counted(old: RuleSet, new: RuleSet, snapshot: Path) -> list[str]:
    """What of a snapshot's clients whoever is gone, or is of another pool, has."""
    from engine.core.client.sections import unpack
    from engine.insight.outlook import leaves_of, staff_lines
    from engine.operations.snapshot import clients_of
    from engine.runtime.redis.reading import NO_RULES

    with progressing("clients") as moved:
        clients = (unpack(NO_RULES.layout, write.state) for write in clients_of(snapshot, moved))
        return list(staff_lines(leaves_of(old, new, clients)))


def _rule_set(which: str, settings_file: Path | None, given: dict[str, Any]) -> RuleSet:
    from engine.runtime.errors import Refused
    from engine.runtime.rule_sets.archive import load_directory, load_files

    try:
        if Path(which).is_dir():
            return load_directory(Path(which))
        archive = _archive(settings_file, given)
        digest = archive.head if which == "live" else archive.find(which)
        if digest is None:
            raise Refused("no rule set is active; publish one first")
        return load_files(archive.files(digest), f"the rules of rule set {digest}")
    except (Refused, click.ClickException) as error:
        raise unusable(str(error)) from error


@commands.command()
@click.argument("directory", type=DIRECTORY)
@_TOPIC
@_NAME
@_NOTE
@click.option("--breaking-events", is_flag=True, help="even if records of declared events will be refused")
@click.option("--snapshot", metavar="FILE", type=FILE, help="say how many of its clients move or are acted on at once")
@click.option(
    "--one-in", type=click.IntRange(min=1), default=1, show_default=True, help="evaluate one client in so many"
)
@click.option("--yes", is_flag=True, help="do not ask, however many they are")
@JSON
def publish(
    directory: Path,
    settings_file: Path | None,
    by: str,
    note: str,
    breaking_events: bool,
    snapshot: Path | None,
    one_in: int,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Check rule files and make them active; if the active set asks for approval, they wait for a second person."""
    from engine.runtime.errors import Refused
    from engine.runtime.rule_sets import publishing
    from engine.runtime.rule_sets.archive import load_directory

    settings = load_settings(settings_file, **given)
    try:
        rule_set = load_directory(directory)
    except Refused as error:
        raise click.ClickException(str(error)) from error
    found, waits = None, None
    archive = _archive(settings_file, given)
    if snapshot is not None:
        found, waits = _asked(archive, rule_set, snapshot, one_in, yes=yes, as_json=as_json)
    elif archive.asks_how_many(archive.head):
        click.echo(_UNCOUNTED, err=True)
    published = publishing.publish(settings, real_clients(), rule_set, by, note, breaking=breaking_events, waits=waits)
    _say(run_to_the_end(published), _already(rule_set.digest), as_json, found)


def _asked(
    archive: RuleSetArchive, rule_set: RuleSet, snapshot: Path, one_in: int, *, yes: bool, as_json: bool
) -> tuple[Outlook, bool]:
    """What publishing would do at once to the clients of a snapshot, once somebody has agreed to it; and whether
    somebody else has to approve it.
    """
    from engine.core.client.state import NewerState
    from engine.core.plan.compile import compile_rule_set
    from engine.insight.outlook import is_one_in, outlook
    from engine.operations.snapshot import clients_of
    from engine.runtime.errors import Refused
    from engine.runtime.rule_sets.carrying import carried

    try:
        after = compile_rule_set(carried(archive, rule_set))
        before = archive.plan(archive.head) if archive.head is not None else None
        with progressing("clients") as moved:
            states = (write.state for write in clients_of(snapshot, moved) if is_one_in(one_in, write.key))
            found = outlook(before, after, states, real_clients().wall_ms()).of_all(one_in)
    except (Refused, NewerState) as error:
        raise click.ClickException(str(error)) from error
    policy = (before or after).rule_set.policy
    if not as_json:
        answer(False, {}, found.lines())
    if (found.affected > policy.ask_above or not found.clients) and not yes:
        if as_json:
            raise click.ClickException(f"{found.affected:,} clients would be moved or acted on at once: say --yes")
        click.confirm("publish?", abort=True)
    waits = policy.approve_above is not None and found.affected > policy.approve_above
    return found, before is not None and waits


@commands.group(cls=Commands)
def rules() -> None:
    """The rule sets that were published: list them, show one, make one active again."""


@rules.command()
@_TOPIC
@click.option("--json", "as_json", is_flag=True, help="a JSON object a line")
def history(settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """Who published what, when and why, newest first."""
    archive = _archive(settings_file, given)
    for entry in reversed(archive.history):
        standing = archive.standing(entry)
        click.echo(entry.encode() if as_json else f"{entry}{f'  [{standing}]' if standing else ''}")
    if not archive.history and not as_json:
        click.echo(f"nothing was published; active: {archive.head or 'nothing'}")


@rules.command()
@_TOPIC
@click.argument("digest")
@click.option("--into", type=PathOf("any"), help="write the files into this directory, which must not exist")
@JSON
def show(digest: str, settings_file: Path | None, into: Path | None, as_json: bool, **given: Any) -> None:
    """The history and the files of a rule set. DIGEST may be its first digits."""
    from engine.runtime.errors import Refused

    archive = _archive(settings_file, given)
    try:
        whole = archive.find(digest)
        files = archive.files(whole)
    except Refused as error:
        raise click.ClickException(str(error)) from error
    active, steps = whole == archive.head, [entry for entry in archive.history if entry.digest == whole]
    found = {"digest": whole, "active": active, "history": [asdict(entry) for entry in steps], "files": files}
    shown = [f"# rule set {whole}{', active' if active else ''}", *(f"# {entry}" for entry in steps)]
    if into is None:
        shown += [f"\n# --- {name}\n{text}".removesuffix("\n") for name, text in sorted(files.items())]
    answer(as_json, found, shown)
    if into is None:
        return
    if unsafe := [name for name in files if Path(name).name != name or not name.endswith((".yaml", ".csv"))]:
        raise click.ClickException(f"not written: {unsafe[0]!r} is not the name of a rule file")
    try:
        into.mkdir(parents=True)
        for name, text in files.items():
            (into / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise click.ClickException(f"{into}: {error.strerror}; name a new directory") from error
    click.echo(f"{into}: {len(files)} files written", err=as_json)


@rules.command()
@_TOPIC
@_NAME
@_NOTE
@click.argument("digest")
@JSON
def revert(digest: str, settings_file: Path | None, by: str, note: str, as_json: bool, **given: Any) -> None:
    """Make a rule set that was published before active again, as a new step of the history."""
    from engine.runtime.rule_sets import publishing

    settings = load_settings(settings_file, **given)
    _say(run_to_the_end(publishing.revert(settings, real_clients(), digest, by, note)), _already(digest), as_json)


@rules.command()
@_TOPIC
@_NAME
@click.option("--note", default="", help="one line; the history keeps it")
@click.argument("digest")
@JSON
def approve(digest: str, settings_file: Path | None, by: str, note: str, as_json: bool, **given: Any) -> None:
    """Approve a rule set that waits for a second person. Read it first: `engage rules show DIGEST`."""
    from engine.runtime.rule_sets import publishing

    settings = load_settings(settings_file, **given)
    _say(run_to_the_end(publishing.approve(settings, real_clients(), digest, by, note)), _already(digest), as_json)


@rules.command()
@_TOPIC
@_NAME
@_NOTE
@click.argument("rule")
@JSON
def pause(rule: str, settings_file: Path | None, by: str, note: str, as_json: bool, **given: Any) -> None:
    """Pause a rule for everybody, until it is resumed: what is due is held, and expires in its time."""
    from engine.runtime.rule_sets import pausing

    settings = load_settings(settings_file, **given)
    entry = run_to_the_end(pausing.pause(settings, real_clients(), {rule: note}, by))
    _say(entry, f"{rule} is paused already", as_json)


@rules.command()
@_TOPIC
@_NAME
@_NOTE
@click.option("--drop", is_flag=True, help="what was held is not sent; else it is decided again")
@click.argument("rule")
@JSON
def resume(rule: str, settings_file: Path | None, by: str, note: str, drop: bool, as_json: bool, **given: Any) -> None:
    """End the pause of a rule. What it held is decided again, spread over the policy's release_over."""
    from engine.runtime.rule_sets import pausing

    settings = load_settings(settings_file, **given)
    entry = run_to_the_end(pausing.resume(settings, real_clients(), rule, by, note, drop=drop))
    _say(entry, f"{rule} is not paused", as_json)


@rules.command()
@_TOPIC
@click.argument("workers", nargs=-1, metavar="[URL]...", callback=urls)
@JSON
def status(workers: tuple[str, ...], settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """The active set, what is paused, what waits for approval, and the set that each worker uses. Exit status 1 when
    one differs.

    URL is where a worker shows its metrics, such as http://worker-1:6066.
    """
    from engine.runtime.observe.pages import rule_set_of
    from engine.runtime.rule_sets.carrying import pauses_of

    archive = _archive(settings_file, given)
    paused, _ = pauses_of(archive, archive.head)
    waiting, found = archive.waiting(), [(url, *rule_set_of(url, archive.head)) for url in workers]
    behind = sum(digest != archive.head for _, digest, _ in found)
    told = {
        "active": archive.head,
        "paused": [asdict(one) for one in paused],
        "waiting": [asdict(entry) for entry in waiting],
        "workers": [{"url": url, "uses": digest, "said": said} for url, digest, said in found],
    }
    lines = [f"active: {archive.head or 'nothing'}"]
    lines += [f"paused: {one.rule} since {rfc3339(one.since_ms)} by {one.by}: {one.why}" for one in paused]
    lines += [f"waits for approval: {entry}" for entry in waiting]
    answer(as_json, told, [*lines, *(said for _, _, said in found)])
    sys.exit(1 if behind else 0)


@rules.command()
@settings_options("web_host", "web_port")
@click.argument("workers", nargs=-1, metavar="[URL]...", callback=urls)
@click.option("--count", type=click.IntRange(min=1), default=20, show_default=True, help="how many rules to show")
@JSON
def top(workers: tuple[str, ...], count: int, settings_file: Path | None, as_json: bool, **given: Any) -> None:
    """The dearest rules, by what workers have measured on one event in 1,000 since they started.

    URL is where a worker shows its metrics, such as http://worker-1:6066; this machine's worker when left out.
    """
    from engine.runtime.observe.pages import Unreadable, metrics_text
    from engine.runtime.worker.rule_costs import top as dearest

    try:
        if not workers:
            settings = load_settings(settings_file, **given)
            workers = (f"http://{settings.web_host}:{settings.web_port}",)
        costs = dearest([metrics_text(url) for url in workers])
    except Unreadable as error:
        raise click.ClickException(str(error)) from error
    lines = [f"{'us an event':>12}{'us a test':>12}{'tests an event':>16}{'share':>8}  rule"]
    for cost in costs[:count]:
        measured = f"{cost.us_per_event:12.3f}{cost.us_per_test:12.2f}{cost.tests_per_event:16.3f}{cost.share:8.1%}"
        lines.append(f"{measured}  {cost.rule}")
    nothing = ["nothing was measured yet: one event in 1,000 is"]
    answer(as_json, {"rules": [asdict(cost) for cost in costs[:count]]}, lines if costs else nothing)


def _archive(settings_file: Path | None, given: dict[str, Any]) -> RuleSetArchive:
    from engine.runtime.rule_sets.archive import RuleSetArchive

    archive = RuleSetArchive(load_settings(settings_file, **given), real_clients())
    run_to_the_end(archive.read())
    return archive


def _already(digest: str) -> str:
    from engine.runtime.rule_sets.archive import SHOWN_DIGITS

    return f"{digest[:SHOWN_DIGITS]} is already active, or waits for approval"


def _say(entry: Entry | None, otherwise: str, as_json: bool, outlook: Outlook | None = None) -> None:
    """What was done; `otherwise`: why nothing had to be."""
    from engine.runtime.rule_sets.archive import SHOWN_DIGITS

    if entry is None:
        answer(as_json, {"done": False, "entry": None}, [f"nothing to do: {otherwise}"])
        return
    lines = [str(entry), *(f"      {effect}" for effect in entry.effects)]
    if entry.in_force:
        lines.append("active; workers take it within seconds: `engage rules status URL...` shows each")
    else:
        lines.append(f"waits for somebody else: `engage rules approve {entry.digest[:SHOWN_DIGITS]} --as NAME`")
    told = {"done": True, "entry": asdict(entry)} | ({"at_once": outlook.as_json()} if outlook is not None else {})
    answer(as_json, told, lines)
