"""The command line, `engage`: the commands of the modules beside this one.

Enters: arguments, environment, settings file. Leaves: exit status 0 done, 1 refused or found wrong, 2 used wrongly.
Holds: a module is imported when one of its commands is wanted, the quick ones first. The settings that a server needs
take as long to import as all the rest of `engage check`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from engine import __version__
from engine.cli.odd import refuse_odd_values
from engine.cli.output import Commands
from engine.compiled import form

MODULES = ("rulefiles", "servers", "rules", "explain", "files")


class Engage(Commands):
    """Has the commands of the modules imported so far, and imports the next until it has the one that is wanted."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._left = list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        while cmd_name not in self.commands and self._left:
            self._import()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        while self._left:
            self._import()
        return super().list_commands(ctx)

    def _import(self) -> None:
        for command in import_module(f"engine.cli.{self._left.pop(0)}").commands.commands.values():
            refuse_odd_values(command)
            self.add_command(command)


@click.group(cls=Engage, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="engage", message=f"%(prog)s, version %(version)s, core: {form.RUNNING}")
def main() -> None:
    """Engage: an event-driven engagement engine for securities firms.

    Completion of commands and options in your shell: eval "$(_ENGAGE_COMPLETE=bash_source engage)", or zsh_source, or,
    for fish, _ENGAGE_COMPLETE=fish_source engage | source.
    """


if __name__ == "__main__":
    main()
