"""Reads the fields of a rule file's nodes, each with its own check.

Enters: nodes. Leaves: typed values; every fault goes to `problems`.
Holds: after a fault a reader returns a harmless value and continues, so that all faults are reported at once; what
was read is used only if there was none.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import re
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Scopes
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engine.core.contract.events import MAX_AMOUNT_FEN
from engine.core.contract.topics import TOPICS, Kinds
from engine.core.language.expressions import BOOL, Expression, Fault, Scope, Type, parse
from engine.core.rules.business_days import CALENDAR_FILE, asked_by
from engine.core.rules.names import eventful
from engine.core.rules.policy import Fen
from engine.core.teams import TEAMS_FILE
from engine.core.text import INVISIBLE, disguised, named, plain, unseen
from engine.rulefile.source.characters import BULLETS
from engine.rulefile.source.document import NORWAY, Listing, Mapping, Node, Scalar, index_within, place
from engine.rulefile.source.problem import Problem
from engine.rulefile.source.spreadsheet import damage, number_meant
from engine.rulefile.source.unsure import Unsure

KEBAB: Final = ("[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case words joined by hyphens, such as vip-winback")
RULE: Final = (
    f"{KEBAB[0]}(/{KEBAB[0]})?",
    "the id of a rule, such as vip-winback, or of an act: first-steps/guide",
)
IDENTIFIER: Final = ("[a-z][a-z0-9_]*", "lower-case words joined by underscores, such as trades_30d")
OWNER: Final = (IDENTIFIER[0], "lower-case words joined by underscores, such as client_service")
TIER: Final = ("[A-Za-z][A-Za-z0-9_]*", "a letter or word, such as A")
TEMPLATE: Final = ("[a-z0-9][a-z0-9._/-]*", "the template's name in the messaging system, such as welcome_v2")
MONEY: Final = re.compile(r"[0-9][0-9_]{0,20}(\.[0-9]{1,2})? CNY")
MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S
SECONDS: Final = {"m": MINUTE_S, "h": HOUR_S, "d": DAY_S}
ESCAPE: Final = re.compile(r"\\(?:N\{[^}]*\}|x..|u.{4}|U.{8}|[0-7]{1,3}|.)")  # of an expression's texts
ALWAYS: Final = Expression("True", ast.Constant(True), BOOL, False, ())


def nearest(value: str, allowed: Sequence[str]) -> str:
    """The remedy for a value that is not allowed."""
    close = difflib.get_close_matches(value, allowed, n=1)
    shown = ", ".join(allowed[:30]) + (", ..." if len(allowed) > 30 else "")
    return (f'did you mean "{close[0]}"? ' if close else "") + f"allowed: {shown}"


@dataclass(slots=True)
class Reader:
    """Reads one file. `rule` is the id of the rule being read, for the problems' text."""

    file: str
    text: str
    unsure: Unsure
    problems: list[Problem] = field(default_factory=list)
    rule: str | None = None
    kinds: Kinds = field(default_factory=lambda: TOPICS)  # of events, those that events.yaml declares among them
    answers: frozenset[str] = frozenset()  # the functions that calendar.yaml answers here
    owners: tuple[str, ...] = ()  # the teams of teams.yaml; none: any name

    @property
    def faults(self) -> tuple[int, int]:
        """Changes with each fault, reported or not: what is read between two equal values is sound."""
        return len(self.problems), self.unsure.hidden

    def problem(self, node: Node | int, message: str, remedy: str) -> None:
        index = node if isinstance(node, int) else node.index
        self.problems.append(Problem(self.file, *place(self.text, index), self.rule, message, remedy))

    def report(self, node: Node, fault: Fault) -> None:
        """A problem, unless it follows from a declaration that is faulty itself."""
        if not self.unsure.hides(fault):
            self.problem(node, fault.message, self.unsure.remedy(fault))
            self.unsure.note(fault, self.problems[-1])

    def wrong(self, scalar: Scalar, message: str, remedy: str) -> None:
        """A value that is not of its form: a sign in it that only looks like one of ASCII is why."""
        sign = disguised(scalar.value)
        if sign is None:
            self.problem(scalar, message, remedy)
        else:
            self.problem(index_within(self.text, scalar, sign.offset), sign.message, sign.remedy)

    def mapping(self, node: Node | None, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Node]:
        """The values by key; unknown and missing keys are reported."""
        required = tuple(required)
        allowed = (*required, *optional)
        if not isinstance(node, Mapping):
            if node is not None:
                self.problem(node, "not a mapping", f"write keys: {', '.join(allowed)}")
            return {}
        values = {key: value for key, (_, value) in node.entries.items() if key in allowed}
        unknown = [key for key in node.entries if key not in allowed]
        missing = [key for key in required if key not in node.entries]
        for key in unknown:
            at, value = node.entries[key]
            meant = "on" if key.lower() == "true" else plain(key)
            if meant in allowed and meant not in node.entries:
                values[meant] = value
                if meant == "on":
                    remedy = 'write "on": with its quotes, which such tools keep'
                    self.problem(at, f"{key}: where on: is meant: a tool that reads YAML 1.1 changed it", remedy)
                else:
                    self.wrong(at, key, "")
                continue
            close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.75)
            remedy = f'did you mean "{close[0]}"?' if close else f"keys here: {', '.join(allowed)}"
            if not close and len(unknown) == len(missing) == 1:
                remedy, missing = f"{remedy}; {missing[0]} is missing", []
            self.wrong(at, f'unknown key "{key}"', remedy)
            if close and close[0] not in node.entries:  # read as what is meant, so that nothing else seems to lack it
                values.setdefault(close[0], value)
        missing = [key for key in missing if key not in values]
        if missing:
            self.problem(node, f"missing {'key' if len(missing) == 1 else 'keys'} {', '.join(missing)}", "add it")
        return values

    def whole(self, node: Node | None, fields: dict[str, Node]) -> bool:
        """Whether all keys of a mapping were known: of one that has others, it cannot be said what it lacks."""
        return isinstance(node, Mapping) and len(fields) >= len(node.entries)

    def entries(self, node: Node | None) -> list[tuple[Scalar, Node]]:
        """A mapping whose keys are free names."""
        if isinstance(node, Mapping):
            return list(node.entries.values())
        if node is not None and not (isinstance(node, Scalar) and not node.value):
            self.problem(node, "not a mapping", "write name: value")
        return []

    def items(self, node: Node | None) -> list[Node]:
        if isinstance(node, Listing):
            return node.items
        if node is not None and self.text[node.index] in BULLETS:
            self.problem(node, named(self.text[node.index]), "write a hyphen and a space before each item")
        elif node is not None:
            self.problem(node, "not a list", "write one item a line, each after a hyphen")
        return []

    def scalar(self, node: Node | None) -> Scalar | None:
        """A single value that is not empty."""
        if isinstance(node, Scalar) and node.value.strip():
            return node
        if node is not None:
            self.problem(node, "no single value" if not isinstance(node, Scalar) else "empty value", "write one value")
        return None

    def text_value(self, node: Node | None) -> Scalar | None:
        """A value that is text, and that no other program reads as anything else."""
        scalar = self.scalar(node)
        if scalar is not None and not scalar.style and scalar.value in NORWAY:
            meant = "nothing" if scalar.value.lower() in ("null", "~") else "true or false"
            remedy = f'write "{scalar.value}", or another text'
            self.problem(scalar, f"{scalar.value} without quotes, which other programs read as {meant}", remedy)
            return None
        return scalar

    def words(self, node: Node | None, most: int, *, lines: bool = False) -> str:
        """A text of one line, or of several."""
        scalar = self.text_value(node)
        if scalar is None:
            return ""
        if not lines:
            self.one_line(scalar)
        if len(scalar.value) > most:
            self.problem(scalar, f"text of {len(scalar.value)} characters", f"stay within {most}")
        return scalar.value.strip()

    def cell(self, cell: Scalar, *, number: bool = False) -> bool:
        """Whether nothing in a cell of a table or list is invisible or left by a spreadsheet. Of a number, whoever
        reads it says how it is written.
        """
        given = len(self.problems)
        if not self.unsure.published:
            character = unseen(cell.value)
            said = None if number and number_meant(cell.value) else damage(cell.value)
            if character is not None:
                at = index_within(self.text, cell, character.offset)
                self.problem(at, character.message, character.remedy)
            elif said is not None:
                self.problem(cell, *said)
            else:
                self.one_line(cell)
        return len(self.problems) == given

    def one_line(self, scalar: Scalar) -> None:
        if "\n" in scalar.value.strip() and not self.unsure.published:
            self.problem(scalar, "a text of several lines", "write it in one line")

    def word(self, node: Node | None, form: tuple[str, str]) -> str:
        """A name of a given form."""
        scalar = self.text_value(node)
        if scalar is None:
            return ""
        if not re.fullmatch(form[0], scalar.value) or len(scalar.value) > 64:
            self.wrong(scalar, f'not a name: "{scalar.value[:80]}"', f"write {form[1]}")
        return scalar.value

    def owner(self, node: Node | None) -> str:
        """A department: one of teams.yaml, if there is one."""
        given, name = len(self.problems), self.word(node, OWNER)
        if node is not None and self.owners and name not in self.owners and len(self.problems) == given:
            self.problem(node, f'no team "{name}" in {TEAMS_FILE}', nearest(name, self.owners))
        return name

    def former(self, node: Node | None, form: tuple[str, str]) -> tuple[str, ...]:
        """One former name, or several, none twice."""
        nodes = node.items if isinstance(node, Listing) else [] if node is None else [node]
        if isinstance(node, Listing) and not nodes:
            self.problem(node, "empty list", "write the former name, or leave the key out")
        found = tuple(self.word(item, form) for item in nodes)
        if node is not None and len(set(found)) < len(found):
            self.problem(node, "a name twice", "keep one")
        return tuple(name for name in dict.fromkeys(found) if name)

    def claim(
        self, node: Node, name: str, former: Iterable[str], names: Scopes[str, object], claimed: dict[str, str]
    ) -> None:
        """Former names must be free, and of one heir; `claimed` has the heir of each."""
        for was in former:
            if was in names:
                self.problem(node, f'{name} was "{was}", which is still there', "leave out was, or the other one")
            elif was in claimed:
                self.problem(
                    node, f'{name} was "{was}", as {claimed[was]} was', "leave it to the one that goes on with it"
                )
            claimed.setdefault(was, name)

    def choice(self, node: Node | None, allowed: tuple[str, ...]) -> str:
        """One of the allowed values, or "" after a fault."""
        scalar = self.scalar(node)
        if scalar is None:
            return ""
        if scalar.value not in allowed:
            self.wrong(scalar, f'unknown value "{scalar.value[:80]}"', nearest(scalar.value, allowed))
            return ""
        return scalar.value

    def choices(self, node: Node | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
        """One value or a list of values, none twice."""
        nodes = self.items(node) if isinstance(node, Listing) else [] if node is None else [node]
        if isinstance(node, Listing) and not nodes:
            self.problem(node, "empty list", f"allowed: {', '.join(allowed)}")
        chosen = [self.choice(item, allowed) for item in nodes]
        written = [item.value for item in nodes if isinstance(item, Scalar)]
        if node is not None and len(set(written)) < len(written):
            self.problem(node, "a value twice", "keep one")
        return tuple(value for value in dict.fromkeys(chosen) if value)

    def number(self, node: Node | None) -> int | float:
        scalar = self.scalar(node)
        if scalar is None:
            return 0
        if scalar.style or not re.fullmatch(r"-?[0-9][0-9_]{0,20}(\.[0-9]{1,10})?", scalar.value):
            meant = number_meant(scalar.value)
            remedy = (
                f"write {meant}{', without quotes' if scalar.style else ''}"
                if meant
                else "write digits such as 1_000_000 or 0.5"
            )
            self.wrong(scalar, f'not a number: "{scalar.value[:80]}"', remedy)
            return 0
        digits = scalar.value.replace("_", "")
        return float(digits) if "." in digits else int(digits)

    def amount(self, node: Node | None, *, number: bool = False) -> int:
        """An amount such as 0.05 CNY, as Fen; `number`: or a whole number of actions."""
        scalar = self.scalar(node)
        if scalar is None:
            return 0
        if not MONEY.fullmatch(scalar.value) and not (number and scalar.value.replace("_", "").isdecimal()):
            remedy = f"write whole fen, such as 0.05 CNY{', or a number of actions' if number else ''}"
            self.wrong(scalar, f'not an amount: "{scalar.value[:40]}"', remedy)
            return 0
        whole, _, part = scalar.value.removesuffix(" CNY").replace("_", "").partition(".")
        found = Fen(whole + part.ljust(2, "0")) if scalar.value.endswith("CNY") else int(whole)
        if found > MAX_AMOUNT_FEN:
            self.problem(scalar, f"{scalar.value} is out of range", "write less")
        return found

    def integer(self, node: Node | None, least: int, most: int) -> int:
        given = len(self.problems)
        value = self.number(node)
        if node is None or len(self.problems) > given:
            return least
        if not isinstance(value, int) or not least <= value <= most:
            self.problem(node, f"{value} is out of range", f"write a whole number from {least} to {most}")
            return least
        return value

    def topic(self, node: Node | None) -> str | None:
        """What a declaration is about, when it uses the names of an event."""
        return self.choice(node, eventful(self.kinds)) or None

    def duration(self, node: Node | None, units: str, least_s: int, most_s: int) -> int:
        """Seconds."""
        scalar = self.scalar(node)
        if scalar is None:
            return least_s
        forms = " or ".join(f"{n}{unit}" for n, unit in ((30, "m"), (12, "h"), (7, "d")) if unit in units)
        found = re.fullmatch(rf"([0-9]{{1,6}})([{units}])", scalar.value)
        seconds = int(found[1]) * SECONDS[found[2]] if found else -1
        if not least_s <= seconds <= most_s:
            message = f'not a duration: "{scalar.value[:80]}"' if found is None else f"{scalar.value} is out of range"
            bounds = " to ".join(f"{s // 86_400}d" if s % 86_400 == 0 else f"{s // 60}m" for s in (least_s, most_s))
            self.wrong(scalar, message, f"write {forms}, from {bounds}")
            return least_s
        return seconds

    def unknown(self, node: Node, name: str, known: Iterable[str]) -> None:
        """A name that is not known here."""
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f'did you mean "{close[0]}"?' if close else "see the names in docs/rules-reference.md"
        self.report(node, Fault(0, f'unknown name "{name[:80]}"', remedy, "unknown name", name))

    def expression(
        self,
        node: Node | None,
        scope: Scope,
        expect: Type | None,
        later: Scopes[str, tuple[str, str]] = MappingProxyType({}),
    ) -> Expression:
        return self.expression_in(node, {"": scope}, expect, later)

    def expression_in(
        self,
        node: Node | None,
        scopes: Scopes[str, Scope],
        expect: Type | None,
        later: Scopes[str, tuple[str, str]] = MappingProxyType({}),
    ) -> Expression:
        """The same expression in each of several scopes, by the name of what gives it; shared names mean the same.
        `later` has, for names that are not known here, what to say of them.
        """
        scalar = self.scalar(node)
        if scalar is None:
            return ALWAYS
        result = ALWAYS
        blamed: dict[Fault, list[str]] = {}
        for trigger, scope in scopes.items():
            checked = parse(scalar.value, scope, expect)
            if isinstance(checked, Expression):
                result = checked
                continue
            for fault in checked:
                if not self.unsure.hides(fault) and not self.unsure.in_list(fault, scalar.value, self.problems):
                    blamed.setdefault(fault, []).append(trigger)
        for fault, triggers in blamed.items():
            where = f" on {', '.join(triggers)}" if len(triggers) < len(scopes) else ""
            said = later.get(fault.name) if fault.kind == "unknown name" else None
            message, remedy = said or (fault.message + where, self.unsure.remedy(fault))
            self.problem(index_within(self.text, scalar, fault.offset), message, remedy)
            if said is None:
                self.unsure.note(fault, self.problems[-1])
        if not self.unsure.published:
            self.escapes(scalar)
        for name in sorted(asked_by([result.tree])):
            if name not in self.answers:
                at = index_within(self.text, scalar, max(scalar.value.find(name), 0))
                self.problem(at, *self.unanswered(name))
        return result

    def unanswered(self, name: str) -> tuple[str, str]:
        """What to say where a function of the calendar has no answer."""
        if self.file == "features.yaml":
            return f"{name} in a feature", "ask the calendar in a rule: what a feature has counted would not follow it"
        if self.answers:
            return (
                f"{name}, and {CALENDAR_FILE} has no business_hours",
                'add them, such as business_hours: ["09:00-17:30"]',
            )
        return f"{name}, and there is no {CALENDAR_FILE}", "add it: it says which days are trading and working days"

    def escapes(self, scalar: Scalar) -> None:
        """Characters in an expression's texts that nobody sees, and which are written as escapes there."""
        for found in ESCAPE.finditer(scalar.value):
            with contextlib.suppress(SyntaxError):  # which was reported already
                character = ast.literal_eval(f'"{found[0]}"')
                if INVISIBLE.match(character) or character == "\n":
                    at = index_within(self.text, scalar, found.start())
                    self.problem(at, named(character), "write a plain space, or leave it out")
