"""How commands speak: help in sections, a JSON answer for each, colour and progress where a terminal is.

Enters: what a command found. Leaves: text or one JSON object. Holds: nothing is decided here, and what a program reads
has neither colour nor progress.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import click

SECTIONS: Final[Mapping[str, Sequence[str]]] = {
    "Begin": ("demo", "dev", "init", "topics", "load", "capacity"),
    "Write rules": ("check", "test", "lint", "fmt", "diff", "templates", "reference-table"),
    "Publish rules": ("publish", "rules", "backfill"),
    "Run and watch": (
        "run",
        "client",
        "clients",
        "explain",
        "decisions",
        "warnings",
        "preview",
        "states",
        "dead-letters",
    ),
    "Advisors": ("work", "explain-assignment", "handover"),
    "Try": ("simulate", "send", "replay", "simulate-policy", "schemas"),
    "Repair": ("snapshot", "rebuild", "trim", "accept-loss"),
}
JSON: Final = click.option("--json", "as_json", is_flag=True, help="one JSON object")
UPDATES_S: Final = 0.2


class Commands(click.Group):
    """Lists its commands, by what one wants to do where there are many, each with a whole sentence; says what was
    probably meant.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        every = self.list_commands(ctx)
        sections = SECTIONS if ctx.parent is None else {"Commands": every}
        for section, names in sections.items():
            shown = [(name, self.commands[name].get_short_help_str(limit=1_000)) for name in names]
            with formatter.section(section):
                formatter.write_dl(shown)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            if close:
                error.message += f" Did you mean {' or '.join(close)}?"
            raise


def answer(as_json: bool, found: Mapping[str, Any], lines: Iterable[object]) -> None:
    """What a command found: for a program, or for people."""
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        for line in lines:
            click.echo(painted(str(line)))


_PLACE: Final = r"^(?P<place>\s*\S+?:\d+:\d+:)"
_MARKS: Final = (
    (re.compile(rf"{_PLACE}(?P<rest>.*\bwarning\b.*)$"), "yellow"),
    (re.compile(rf"{_PLACE}(?P<rest>.*)$"), "red"),
    (re.compile(r"^(?P<place>)(?P<rest>\s+\^)$"), "red"),
    (re.compile(r"^(?P<place>)(?P<rest>\S.*: no (?:problems|findings)\b.*|.*\ball topics are as.*)$"), "green"),
    (re.compile(r"^(?P<place>)(?P<rest>(?P<n>\d+) of (?P=n) tests passed.*)$"), "green"),
    (re.compile(r"^(?P<place>)(?P<rest>\d+ of \d+ tests passed.*|\d+ problems? in .*)$"), "red"),
    (re.compile(r"^(?P<place>)(?P<rest>\+.*|added .*|.*: added\b.*)$"), "green"),
    (re.compile(r"^(?P<place>)(?P<rest>removed .*|.*: removed\b.*)$"), "red"),
)


def painted(line: str) -> str:
    """The place bold, what is wrong red, what is well green; click leaves colours out where no terminal is."""
    for pattern, colour in _MARKS:
        if found := pattern.match(line):
            return click.style(found["place"], bold=True) * bool(found["place"]) + click.style(found["rest"], fg=colour)
    return line


@contextmanager
def progress(label: str, length: int | None, *, beside_output: bool = False) -> Iterator[Any]:
    """A bar with the time that is left, on standard error, which is called `update(more)`; only on a terminal, and not
    where the command's own lines run over the same one.
    """
    hidden = not sys.stderr.isatty() or (beside_output and sys.stdout.isatty())
    with click.progressbar(length=length or 1, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar


@contextmanager
def progressing(label: str, *, beside_output: bool = False) -> Iterator[Callable[[int, int], None]]:
    """The same bar, for what says how far it is, and of how much. It begins when that is known."""
    with ExitStack() as stack:
        bar: Any = None

        def moved(done: int, of: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(progress(label, of, beside_output=beside_output))
            bar.update(done - bar.pos)

        yield moved


def counted(lines: Iterable[bytes], bar: Any) -> Iterator[bytes]:
    """The lines, while the bar moves on by their bytes."""
    waiting = 0
    for line in lines:
        yield line
        waiting += len(line)
        if waiting >= 65_536:
            bar.update(waiting)
            waiting = 0
    bar.update(waiting)


def unusable(message: str) -> click.ClickException:
    """Ends with exit status 2."""
    error = click.ClickException(message)
    error.exit_code = 2
    return error
