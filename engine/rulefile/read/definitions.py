"""Reads definitions.yaml, and departments' own: lists of texts, decision tables, named expressions; also calendar.yaml
and teams.yaml.

Enters: the file's root node, the CSV files, the names that rules have without it. Leaves: Declared, BusinessCalendar,
Teams.
Holds: no two of them share a name, with each other or with anything else; a definition uses only what stands before it;
one with a fault is left out and named in `unsure`, so that those that use it are not blamed.
"""

from __future__ import annotations

import datetime as dt
import keyword
import re
from collections.abc import Callable
from collections.abc import Mapping as Fields
from typing import Final

from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.language.expressions import Scope
from engine.core.language.functions import FUNCTIONS
from engine.core.rules.business_days import MAX_YEARS, BusinessCalendar, minutes_of
from engine.core.rules.tables import NOTHING, Declared, Definition, with_declared
from engine.core.teams import Team
from engine.core.text import plain
from engine.rulefile.read.tables import read_table
from engine.rulefile.source.csv_file import Sheets
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar, place
from engine.rulefile.source.fields import ALWAYS, IDENTIFIER, OWNER, Reader, nearest
from engine.rulefile.source.spreadsheet import cut_zeros, damage

MAX_LISTED: Final = 100_000
MAX_TEXT: Final = 100
MAX_DECLARED: Final = 500
Scopes = Callable[[str | None], Scope]  # the names known on a topic, or without an event


def read_definitions(
    reader: Reader, root: Node, scopes: Scopes, sheets: Sheets, before_it: Declared = NOTHING
) -> Declared:
    """`scopes` has client names, features and the names of each topic's events; `before_it` is what other files have
    declared, which this one can use. All of it together.
    """
    before = len(reader.problems)
    fields = reader.mapping(root, (), ("lists", "tables", "define"))
    listed, tabled, defined = (reader.entries(fields.get(key)) for key in ("lists", "tables", "define"))
    reader.unsure.any_name |= len(reader.problems) > before
    names = _Names(reader, set(scopes(None)) | declared_names(before_it))
    lists, last_days = dict(before_it.lists), dict(before_it.last_days)
    for key, node in listed:
        with names.declaring(key):
            values = _list(reader, key.value, node, sheets)
            last_day = _last_day(reader, node, values)
        if names.sound:
            lists[key.value] = values
            last_days |= {key.value: last_day} if last_day else {}
    tables = list(before_it.tables)
    for key, node in tabled:
        with names.declaring(key):
            table = read_table(reader, key.value, node, scopes, sheets)
            _known_on(reader, key.value, table.on)
        if names.sound:
            tables.append(table)
    definitions = list(before_it.definitions)
    later = {key.value for key, _ in defined}
    for key, node in defined:
        declared = Declared(lists, tuple(tables), tuple(definitions))
        with names.declaring(key):
            definition = _definition(reader, key, node, scopes, declared, later)
            _known_on(reader, key.value, definition.on)
        later.discard(key.value)
        if definition.expression is ALWAYS:  # it has a fault, or follows from one
            reader.unsure.names.add(key.value)
        elif names.sound:
            definitions.append(definition)
    if len(names.taken) > MAX_DECLARED + len(scopes(None)):
        reader.problem(root, "too many declarations", f"declare at most {MAX_DECLARED:,}")
    return Declared(lists, tuple(tables), tuple(definitions), last_days)


def declared_names(declared: Declared) -> set[str]:
    tables, definitions = (one.name for one in declared.tables), (one.name for one in declared.definitions)
    return {*declared.lists, *tables, *definitions}


class _Names:
    """Watches what is declared: a name free to take, and whether its declaration had a fault."""

    def __init__(self, reader: Reader, taken: set[str]) -> None:
        self.reader = reader
        self.taken = taken
        self.sound = True

    def declaring(self, key: Scalar) -> _Names:
        self.key, self.given = key, self.reader.faults
        name = self.reader.word(key, IDENTIFIER)
        if is_word(self.reader, name) or name == "then":
            self.reader.problem(key, f'"{name}" is a word of the rule language', "choose another name")
        elif name in self.taken:
            self.reader.problem(key, f'"{name}" is declared already', "keep one, or choose another name")
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self.taken.add(self.key.value)
        self.sound = self.reader.faults == self.given
        if not self.sound:
            self.reader.unsure.names.add(self.key.value)


def is_word(reader: Reader, name: str) -> bool:
    """Whether nothing can be declared under a name. Sets published before there was a calendar may use its words."""
    function = FUNCTIONS.get(name)
    of_old = function is not None and function.asks_calendar and reader.unsure.published
    return keyword.iskeyword(name) or (function is not None and not of_old)


def _known_on(reader: Reader, name: str, topic: str | None) -> None:
    if topic is not None:
        reader.unsure.known_on[name] = topic


def _list(reader: Reader, name: str, node: Node, sheets: Sheets) -> tuple[str, ...]:
    fields = reader.mapping(node, (), ("values", "file", "column", "last_day", "description"))
    reader.words(fields.get("description"), 300, lines=True)
    if reader.whole(node, fields) and ("values" in fields) == ("file" in fields):
        reader.problem(node, "values or file", "a list has one of them")
    elif "column" in fields and "values" in fields:
        reader.problem(fields["column"], "column without a file", "remove it")
    told, cells = list_cells(reader, fields, sheets)
    if told is None:
        return ()
    if len(cells) > MAX_LISTED:
        told.problem(cells[MAX_LISTED], f"list of {len(cells):,} texts", f"at most {MAX_LISTED:,}")
    sound = [_listed(told, cell) for cell in cells]
    if not all(sound):  # a spreadsheet was here: what else looks like it is no chance
        texts = [cell.value for cell in cells]
        cut = cut_zeros(texts) if any(map(damage, texts)) else {}
        for cell in cells:
            if cell.value in cut:
                told.problem(cell, *cut[cell.value])
    at = reader.unsure.cells.setdefault(name, {})
    for cell in cells:
        at.setdefault(cell.value, (told.file, *place(told.text, cell.index)))
    return tuple(at)


def list_cells(reader: Reader, fields: Fields[str, Node], sheets: Sheets) -> tuple[Reader | None, list[Scalar]]:
    """The values of a list where they stand, and the reader of their file."""
    if "file" in fields:
        return _column(reader, fields["file"], fields.get("column"), sheets)
    return (reader, _written(reader, fields["values"])) if "values" in fields else (None, [])


def _listed(told: Reader, cell: Scalar) -> bool:
    """Whether a value of a list is one that a text of the data can have."""
    if not cell.value or len(cell.value) > MAX_TEXT:
        told.problem(cell, "empty value" if not cell.value else "a long text", f"write 1 to {MAX_TEXT} characters")
        return False
    if not told.cell(cell):
        return False
    if told.unsure.published:
        return True
    if cell.value != cell.value.strip():
        told.problem(cell, "a blank at an end of the text", f'write "{cell.value.strip()}"')
        return False
    if not cell.value.isascii() and plain(cell.value).isascii():
        told.wrong(cell, "", "")
        return False
    return True


def _last_day(reader: Reader, node: Node, values: tuple[str, ...]) -> str:
    """Of a list of days, which then says nothing of later ones; empty for other lists."""
    at = node.entries["last_day"][1] if isinstance(node, Mapping) and "last_day" in node.entries else None
    if at is None or (written := reader.scalar(at)) is None:
        return ""
    remedy = "write each as 2026-12-31"
    if not _is_day(written.value):
        reader.problem(at, f'not a day: "{written.value[:40]}"', remedy)
    elif odd := next((value for value in values if not _is_day(value)), None):
        reader.problem(at, f'last_day of a list that has "{odd[:40]}", which is no day', remedy)
    elif later := next((value for value in values if value > written.value), None):
        reader.problem(at, f"the list has {later}, after its last_day", "write the last day that the list covers")
    return written.value


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _written(reader: Reader, node: Node) -> list[Scalar]:
    if isinstance(node, Listing) and not node.items:
        reader.problem(node, "empty list", "write at least one value")
    return [scalar for item in reader.items(node) if (scalar := reader.text_value(item)) is not None]


def _column(reader: Reader, file: Node, column: Node | None, sheets: Sheets) -> tuple[Reader | None, list[Scalar]]:
    sheet = sheets.sheet(reader, file)
    if sheet is None:
        return None, []
    titles = [cell.value for cell in sheet.header]
    written = reader.scalar(column)
    wanted = titles[0] if written is None else written.value
    if column is None and len(titles) > 1:
        reader.problem(file, f"which column of {sheet.reader.file}?", f"add column, one of: {', '.join(titles)}")
    if wanted not in titles:
        reader.problem(column or file, f'no column "{wanted}" in {sheet.reader.file}', nearest(wanted, titles))
        return None, []
    if not sheet.rows:
        sheet.reader.problem(0, "no rows", "write one value a line below the header")
    position = titles.index(wanted)
    return sheet.reader, [row[position] for row in sheet.rows]


def _definition(
    reader: Reader, key: Scalar, node: Node, scopes: Scopes, declared: Declared, later: set[str]
) -> Definition:
    fields = reader.mapping(node, ("is",), ("on", "description"))
    on = reader.topic(fields.get("on"))
    if "on" in fields and on is None:  # its names are not known
        return Definition(key.value, ALWAYS, on)
    scope = with_declared(scopes(on), declared, on, compiling=False)
    said = {name: (f"{name} is declared further down", f"move it above {key.value}") for name in later}
    said[key.value] = (f"{key.value} asks for itself", "write what it means without it")
    expression = reader.expression(fields.get("is"), scope, None, said)
    return Definition(key.value, expression, on, reader.words(fields.get("description"), 300, lines=True))


# -- calendar.yaml -----------------------------------------------------------------------------------------------------

CALENDAR_KEYS: Final = ("holidays", "closed", "workdays", "business_hours")
SPAN: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)")


def read_calendar(reader: Reader, root: Node) -> BusinessCalendar:
    given = reader.mapping(root, ("calendar",)).get("calendar")
    fields = reader.mapping(given, ("title", "first_day", "last_day"), CALENDAR_KEYS)
    title = reader.words(fields.get("title"), 120)
    first, last = (_one_day(reader, fields.get(key)) for key in ("first_day", "last_day"))
    if not first or not last:
        return BusinessCalendar(title, "2000-01-01", "2000-01-01")
    if last < first or int(last[:4]) - int(first[:4]) >= MAX_YEARS:
        message = f"{last} lies before {first}" if last < first else "a long calendar"
        reader.problem(fields["last_day"], message, f"write the last day that it covers, within {MAX_YEARS} years")
        return BusinessCalendar(title, "2000-01-01", "2000-01-01")
    taken: dict[str, str] = {}
    found = {}
    for key in ("holidays", "closed", "workdays"):
        days = [(item, day) for item in _days_of(reader, fields.get(key)) if (day := _one_day(reader, item))]
        for item, day in days:
            weekend = dt.date.fromisoformat(day).weekday() >= 5
            if not first <= day <= last:
                reader.problem(item, f"{day} lies outside of the calendar", f"it covers {first} to {last}")
            elif day in taken:
                reader.problem(item, f"{day} twice", f"it is one of {taken[day]} already: keep one")
            elif key == "workdays" and not weekend:
                reader.problem(item, f"{day} is no Saturday or Sunday", "leave it out: other days are working days")
            taken.setdefault(day, key)
        found[key] = tuple(sorted({day for _, day in days}))
    hours = tuple(_hours(reader, item) for item in _days_of(reader, fields.get("business_hours")))
    return BusinessCalendar(title, first, last, **found, business_hours=tuple(filter(None, hours)))


def _days_of(reader: Reader, node: Node | None) -> list[Node]:
    return reader.items(node) if node is not None else []


def _one_day(reader: Reader, node: Node | None) -> str:
    scalar = reader.scalar(node)
    if scalar is None or _is_day(scalar.value):
        return scalar.value if scalar is not None else ""
    reader.wrong(scalar, f'not a day: "{scalar.value[:40]}"', "write it as 2026-12-31")
    return ""


def _hours(reader: Reader, node: Node) -> str:
    scalar = reader.scalar(node)
    if scalar is None:
        return ""
    begin, end = minutes_of(scalar.value) if SPAN.fullmatch(scalar.value) else (0, 0)
    if begin < end:
        return scalar.value
    reader.wrong(scalar, f'not a span of hours: "{scalar.value[:40]}"', 'write it as "09:00-17:30"')
    return ""


# -- teams.yaml --------------------------------------------------------------------------------------------------------

TEAM_KEYS: Final = ("topics", "headers", "description")
TEAM_TOPICS: Final = tuple(TOPIC_OF_KIND.values())
HEADER: Final = ("[a-z][a-z0-9_-]*", "lower-case letters, digits, hyphens and underscores, such as desk")
OWN_HEADERS: Final = ("content-type", "ce_")  # beginnings of those that each record has
MAX_TEAMS: Final = 500
MAX_HEADERS: Final = 8


def read_teams(reader: Reader, root: Node) -> tuple[Team, ...]:
    """By name."""
    given = reader.mapping(root, ("teams",)).get("teams")
    entries = reader.entries(given)
    if given is not None and not entries:
        reader.problem(given, "no teams", "list at least one, or remove the file: then any name can own a rule")
    if len(entries) > MAX_TEAMS:
        reader.problem(entries[MAX_TEAMS][0], f"{len(entries)} teams", f"declare at most {MAX_TEAMS}")
    return tuple(sorted((_team(reader, key, node) for key, node in entries), key=lambda team: team.name))


def _team(reader: Reader, key: Scalar, node: Node) -> Team:
    fields = reader.mapping(node, ("title", "head"), TEAM_KEYS)
    return Team(
        name=reader.word(key, OWNER),
        title=reader.words(fields.get("title"), 120),
        head=reader.words(fields.get("head"), 64),
        topics=reader.choices(fields["topics"], TEAM_TOPICS) if "topics" in fields else (),
        headers=_team_headers(reader, fields["headers"]) if "headers" in fields else (),
        description=reader.words(fields.get("description"), 300, lines=True),
    )


def _team_headers(reader: Reader, node: Node) -> tuple[tuple[str, str], ...]:
    found = []
    entries = reader.entries(node)
    if len(entries) > MAX_HEADERS:
        reader.problem(entries[MAX_HEADERS][0], f"{len(entries)} headers", f"at most {MAX_HEADERS}")
    for key, value in entries:
        name, text = reader.word(key, HEADER), reader.text_value(value)
        if name.startswith(OWN_HEADERS):
            reader.problem(key, f"every record has a header {name}, or may have", "choose another name")
        if text is not None and reader.cell(text):
            found.append((name, reader.words(text, MAX_TEXT)))
    return tuple(found)
