"""Odd values of options and arguments: what cannot be right is said in a line, before anything is asked or read.

Enters: what somebody wrote. Leaves: the value, or click's own error with exit status 2.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import click

from engine.compiled import form
from engine.runtime.addresses import is_host, odd_characters

MAY_BE_EMPTY: Final = frozenset({"prefix", "note", "topic_names"})
MANY_LINES: Final = frozenset({"event"})


class PathOf(click.ParamType):
    """A path that is text. What `file`, `directory` and `either` name is there; a `new` file or `folder` may be."""

    name = "path"

    def __init__(self, what: Literal["any", "file", "directory", "either", "new", "folder"]) -> None:
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if fault := _fault_of(str(value), param):
            self.fail(fault, param, ctx)
        path = Path(value)
        if fault := self._fault(path):
            self.fail(f"{path}: {fault}", param, ctx)
        return path

    def _fault(self, path: Path) -> str | None:
        """os.path, since it finds nothing where a path is too long or must not be read, and raises nothing."""
        found = str(path)
        if self._what == "directory" and not os.path.isdir(found):
            return "no such directory"
        if self._what == "file" and found != "-" and not os.path.exists(found):
            return "no such file"
        if self._what == "either" and not os.path.exists(found):
            return "no such file or directory"
        if self._what in ("file", "new") and os.path.isdir(found):
            return "is a directory"
        if self._what == "folder" and os.path.exists(found) and not os.path.isdir(found):
            return "is a file"
        if self._what == "new" and not (os.path.isdir(path.parent) and len(os.fsencode(path.name)) < 256):
            return "cannot be written there"
        return None


DIRECTORY: Final = PathOf("directory")
FILE: Final = PathOf("file")
NEW_FILE: Final = PathOf("new")


def refuse_odd_values(command: click.Command) -> None:
    """Of every text that a command, or a command of a group, takes: one that is empty or has invisible characters."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        refuse_odd_values(inner)
    for parameter in command.params:
        if isinstance(parameter.type, click.types.StringParamType) and parameter.callback is None:
            parameter.callback = _not_odd


def _not_odd(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    for text in value if isinstance(value, tuple) else () if value is None else (value,):
        if fault := _fault_of(text, parameter):
            raise click.BadParameter(fault)
    return value


def _fault_of(text: str, parameter: click.Parameter | None) -> str | None:
    name = parameter.name if parameter is not None else None
    if not text.strip() and name not in MAY_BE_EMPTY:
        return "is empty: leave it out, or give a value"
    return odd_characters(" ".join(text.split()) if name in MANY_LINES else text)


class Finite(click.FloatRange):
    """A range without nan, which is on neither side of a bound, and without inf."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a number within a range", param, ctx)
        return found


def urls(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for url in value:
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and is_host(parts.hostname or "") and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise click.BadParameter(f"{url!a}: write it as http://HOST:PORT")
    return value


# What Kubernetes sets in every container for a Service whose name begins with engage; the last form holds an address.
_OF_A_SERVICE: Final = re.compile(
    r"\w*_(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|PORT=(tcp|udp|sctp)://.*)"
)
NAMED: Final = 10


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The variables that are named like settings without being one, each with the setting that is probably meant."""
    from engine.runtime.settings import Settings

    known = [name.upper() for name in Settings.model_fields]
    found = []
    for variable, value in sorted(environment.items()):
        prefix, name = variable[:7].upper(), variable[7:].upper()
        other = name not in known and f"ENGAGE_{name}" != form.VARIABLE
        if prefix == "ENGAGE_" and other and not _OF_A_SERVICE.fullmatch(f"_{name}={value}"):
            close = difflib.get_close_matches(name, known, n=1)
            found.append(f"{variable}: did you mean ENGAGE_{close[0]}?" if close else variable)
    return found[:NAMED] + ([f"and {len(found) - NAMED} more"] if len(found) > NAMED else [])


def check_question(at: str | None, event: str | None) -> None:
    """At once, before anything is read from Kafka or Redis."""
    from engine.rulefile.source.document import read_document
    from engine.rulefile.stories.story import firm_time_ms

    try:
        if at is not None:
            firm_time_ms(at)
        if event is not None:
            text = event if event.lstrip().startswith("{") else Path(event).read_text(encoding="utf-8")
            _, problems = read_document("event", text)
            if problems:
                raise ValueError(str(problems[0]))
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
