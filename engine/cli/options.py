"""What the commands share: options that are settings, reading them, running asynchronous work.

Enters: arguments, environment, settings file. Leaves: Settings; a result, or a message and exit status 1.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr

from engine.cli.odd import DIRECTORY, PathOf, unknown_variables
from engine.runtime import settings as settings_
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.settings import Settings, SettingsError

if TYPE_CHECKING:
    from engine.runtime.clients import Clients

Command = Callable[..., Any]


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Options for the named settings, their help taken from the settings themselves."""
    if "redis" in names:
        names = (*names, "redis_mode", "redis_service")

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            described = Settings.model_fields[name]
            flag, kind, default = f"--{name.replace('_', '-')}", described.annotation, described.get_default()
            shown = default.get_secret_value() if isinstance(default, SecretStr) else default
            note = f"[default: {shown}]  " if shown not in (None, "", False) else ""
            text = f"{described.description}  {note}[ENGAGE_{name.upper()}]"
            if kind is bool:
                command = click.option(flag, is_flag=True, default=None, help=text)(command)
            elif name == "rules":
                command = click.option(flag, type=DIRECTORY, default=None, help=text)(command)
            elif get_origin(kind) is Literal:
                command = click.option(flag, type=click.Choice(get_args(kind)), default=None, help=text)(command)
            else:  # the settings say what a wrong number is, as they do of a variable or a file
                metavar = "INTEGER" if kind is int else "NUMBER" if kind is float else "TEXT"
                command = click.option(flag, default=None, metavar=metavar, help=text)(command)
        file = click.option("--settings", "settings_file", type=PathOf("any"), help="settings file, YAML")
        return file(command)

    return decorate


def load_settings(settings_file: Path | None, *, people: bool = True, **given: Any) -> Settings:
    """Where people read what the command says, the log has only warnings, as text, unless a setting wants it."""
    try:
        settings = settings_.load(settings_file, **given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    from engine.runtime import logs

    quiet = {"log_level": "warning", "log_format": "console"} if people else {}
    wanted = {name: value for name, value in quiet.items() if name not in settings.model_fields_set}
    logs.configure(settings.model_copy(update=wanted))
    if unknown := unknown_variables(os.environ):
        import structlog  # takes a tenth of what `engage check` takes

        structlog.get_logger(__name__).warning(
            "environment variables are ignored: no setting has their name", names=unknown
        )
    return settings


def real_clients() -> Clients:
    """How every command reaches Kafka, Redis and the clock."""
    from engine.runtime.clients import Clients

    return Clients()


def run_to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end. What the engine refuses becomes a message and exit status 1, not a traceback."""
    from engine.runtime.kafka.connection import tell_later

    try:
        with asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(tell_later)
            return runner.run(work)
    except Refused as error:
        raise click.ClickException(str(error)) from error
    except Unavailable as error:
        where = f"--{error.system}, ENGAGE_{error.system.upper()} or the file of settings says where it is"
        raise click.ClickException(f"{str(error).rstrip('.')}; {where}") from error
