"""Reads decision tables, from YAML rows or a CSV file; and the table of products, with what decides whom they suit.

Enters: the `tables` of definitions.yaml, the names that can be their inputs. Leaves: Tables, each complete: some row or
`otherwise` gives a value for whatever the inputs are. Of policy.yaml what asks for these names: a Suitability, answers,
what keeps classes from clients.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final, cast, get_args

from engine.core.contract.events import Channel, RiskLevel
from engine.core.language.expressions import BOOL, Expression, Fault, Name, Scope, Type, enum, number
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.rules.policy import ContactClass, Product, Suitability
from engine.core.rules.tables import Bound, Cell, Declared, Hit, Row, Table, Value
from engine.core.text import plain
from engine.rulefile.source.csv_file import Sheet, Sheets, where
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar
from engine.rulefile.source.fields import DAY_S, IDENTIFIER, Reader, nearest
from engine.rulefile.source.spreadsheet import number_meant
from engine.rulefile.source.table_checks import tell_gaps_and_overlaps

HITS: Final = ("first", "unique")
UNITS: Final = (MONEY, "days", "ratio", "count", "shares", "score")
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
THEN: Final = "then"
MAX_ROWS: Final = 1_000
MAX_INPUTS: Final = 10
NUMBER: Final = r"-?[0-9][0-9_]{0,20}(?:\.[0-9]{1,10})?"
MAX_NUMBER: Final = 10**15
ANYTHING: Final = ("", "-")
SUITABILITY_KEYS: Final = ("products", "assessed", "within", "blacklist")
BLACKLIST_KEYS: Final = ("clients", "products")
COLUMNS: Final = ("product", "risk_class", "youngest", "oldest")
RISK_CLASSES: Final[tuple[str, ...]] = get_args(RiskLevel)
OLDEST: Final = 150
MAX_WITHIN_S: Final = 3650 * DAY_S
MAX_PRODUCTS: Final = 100_000
MAX_PRODUCT_NAME: Final = 100
Line = tuple[Node, dict[str, Node]]  # a row: where it stands, its cells by column


def read_table(reader: Reader, name: str, node: Node, scopes: Callable[[str | None], Scope], sheets: Sheets) -> Table:
    given = reader.faults
    fields = reader.mapping(node, ("hit",), ("unit", "otherwise", "rows", "file", "on", "description"))
    hit = cast(Hit, reader.choice(fields.get("hit"), HITS))
    unit = reader.choice(fields.get("unit"), UNITS) or None
    on = reader.topic(fields.get("on"))
    if reader.whole(node, fields) and ("rows" in fields) == ("file" in fields):
        reader.problem(fields.get("rows", node), "rows or file", "a table has one of them")
    told, columns = reader, cast(list[tuple[str, Node]], [])
    lines: list[Line] = []
    if "on" in fields and on is None:
        pass  # its names are not known
    elif "file" in fields:
        sheet = sheets.sheet(reader, fields["file"])
        if sheet is not None:
            told, columns = sheet.reader, [(cell.value, cast(Node, cell)) for cell in sheet.header]
            titles = [name for name, _ in columns]
            lines = [(row[0], dict(zip(titles, cast(list[Node], row), strict=True))) for row in sheet.rows]
    else:
        columns, lines = _yaml_lines(reader, fields.get("rows"))
    rows = _rows(told, columns, lines, scopes(on))
    thens = [cells[THEN] for _, cells in lines if THEN in cells]
    type_, values = _values(reader, told, thens, fields.get("otherwise"), unit)
    inputs = tuple(column for column, _ in columns if column != THEN)
    table = Table(
        name=name,
        hit=hit,
        inputs=inputs,
        rows=tuple(Row(cells, then, text, place) for (cells, text, place), then in zip(rows, values, strict=False)),
        otherwise=values[-1] if "otherwise" in fields and values else None,
        type=type_,
        on=on,
        description=reader.words(fields.get("description"), 300, lines=True),
    )
    if reader.faults == given and lines:
        partial = tell_gaps_and_overlaps(told, node if told is reader else 0, table, scopes(on))
        return replace(table, partial=partial)
    return table


def _yaml_lines(reader: Reader, node: Node | None) -> tuple[list[tuple[str, Node]], list[Line]]:
    columns: dict[str, Node] = {}
    lines: list[Line] = []
    items = reader.items(node)
    for item in items:
        entries = [(_meant(reader, key, item), value) for key, value in reader.entries(item)]
        columns |= {key.value: key for key, _ in entries if key.value not in columns}
        lines.append((item, {key.value: value for key, value in entries}))
    if node is not None and not items:
        reader.problem(node, "no rows", "write one a line, such as - {client.tier: A, then: 5}")
    return list(columns.items()), lines


def _meant(reader: Reader, key: Scalar, row: Node) -> Scalar:
    """The key, or `then` where that is what is meant."""
    known = isinstance(row, Mapping) and (THEN in row.entries or "." in key.value)
    if known or not difflib.get_close_matches(key.value, (THEN,), cutoff=0.75):
        return key
    reader.problem(key, f'unknown key "{key.value}"', f'did you mean "{THEN}"?')
    return Scalar(key.index, key.end, THEN, key.style)


def _rows(
    reader: Reader, columns: list[tuple[str, Node]], lines: list[Line], scope: Scope
) -> list[tuple[tuple[Cell | None, ...], str, str]]:
    """The cells of each row, `then` as written, the row's place."""
    usable = {}
    if columns and THEN not in dict(columns):
        reader.problem(columns[-1][1], "no column then", "add it: the value of each row")
        return []
    for column, at in columns:
        known = scope.get(column)
        if column == THEN:
            continue
        if known is None:
            reader.unknown(at, column, (name for name, known in scope.items() if _can_be_input(known)))
        elif not _can_be_input(known):
            reader.problem(
                at, f"{column} cannot be an input", "use a number, a text or a bool; of times, client.days_*"
            )
        else:
            usable[column] = known
    inputs = [column for column, _ in columns if column != THEN]
    if columns and not inputs:
        reader.problem(columns[0][1], "no input", "name what the value depends on, such as client.tier")
    if len(inputs) > MAX_INPUTS or len(lines) > MAX_ROWS:
        at = columns[-1][1] if len(inputs) > MAX_INPUTS else lines[MAX_ROWS][0]
        reader.problem(at, f"{len(inputs)} inputs and {len(lines)} rows", f"at most {MAX_INPUTS} and {MAX_ROWS:,}")
        return []
    rows = []
    for at, cells in lines:
        if THEN not in cells:
            reader.problem(at, "a row without then", "add its value, such as then: 5")
        parsed = tuple(_cell(reader, cells.get(name), usable[name]) if name in usable else None for name in inputs)
        rows.append((parsed, _shown(cells.get(THEN)), where(reader, at)))
    return rows


def _can_be_input(name: Name) -> bool:
    return name.type.kind in ("number", "text", "bool") and name.type.unit not in (TIME, DURATION)


def _shown(node: Node | None) -> str:
    if isinstance(node, Listing):
        return " | ".join(_shown(item) for item in node.items)
    return node.value.strip() if isinstance(node, Scalar) else ""


def _cell(reader: Reader, node: Node | None, name: Name) -> Cell | None:
    if node is None or (isinstance(node, Scalar) and node.value.strip() in ANYTHING):
        return None
    scalar = reader.scalar(node)
    if scalar is None or not reader.cell(scalar, number=name.type.kind == "number"):
        return None
    text = " ".join(scalar.value.split())
    if name.type.kind == "number":
        return _range(reader, scalar, text, name.type.unit)
    if name.type == BOOL:
        if text.lower() not in ("true", "false"):
            reader.problem(scalar, f'not true or false: "{text[:40]}"', f"{name.name} is one of them; - is both")
        return Cell(text, (text.lower() == "true",))
    negated = text.startswith("not ")
    values = tuple(part.strip() for part in text.removeprefix("not ").split("|"))
    for value in values:
        if not value:
            reader.problem(scalar, f'an empty value in "{text[:40]}"', "write A, A | B, not A, or - for any")
        elif name.type.values is not None and value not in name.type.values:
            message, remedy = f'{name.name} is never "{value[:40]}"', nearest(value, name.type.values)
            reader.report(scalar, Fault(0, message, remedy, "never that value", name.name))
        elif name.form is not None and not name.form.fits(value) and not reader.unsure.published:
            meant = name.form.instead(value)
            message = f'{name.name} is never "{value[:40]}": it is {name.form.says}'
            reader.problem(scalar, message, f"write {meant}" if meant else "write what the data has")
    return Cell(text, values, negated)


def _range(reader: Reader, scalar: Scalar, text: str, unit: str | None) -> Cell:
    least = re.fullmatch(rf"(>=?) ?({NUMBER})", text)
    most = re.fullmatch(rf"(<=?) ?({NUMBER})", text)
    both = re.fullmatch(rf"({NUMBER}) ?\.\. ?({NUMBER})", text)
    low: Bound | None = None
    high: Bound | None = None
    if least:
        low = (_number(reader, scalar, least[2], unit), least[1] == ">")
    elif most:
        high = (_number(reader, scalar, most[2], unit), most[1] == "<=")
    elif both:
        low, high = ((_number(reader, scalar, part, unit), False) for part in both.groups())
        if not low < high:
            reader.problem(scalar, f'nothing lies in "{text}"', "write n .. m: from n to less than m")
    elif re.fullmatch(NUMBER, text):
        value = _number(reader, scalar, text, unit)
        low, high = (value, False), (value, True)
    else:
        remedy = "write >= n, > n, <= n, < n, n .. m (less than m), n, or - for any; digits such as 1_000_000"
        meant = _range_meant(text)
        reader.wrong(scalar, f'not a number or range: "{text[:40]}"', f"write {meant}" if meant else remedy)
    return Cell(text, low=low, high=high)


def _range_meant(text: str) -> str | None:
    """A range whose numbers are written otherwise."""
    found = re.fullmatch(r"((?:>=?|<=?)? ?)(.+?)(?: ?(\.\.) ?(.+))?", plain(text))
    if found is None:
        return None
    numbers = [number_meant(part) for part in (found[2], found[4]) if part]
    return None if None in numbers else found[1] + " .. ".join(map(str, numbers))


def _number(reader: Reader, node: Node, text: str, unit: str | None) -> int | float:
    """In the unit's stored form: money in fen."""
    value = Decimal(text.replace("_", "")) * (100 if unit == MONEY else 1)
    if abs(value) > MAX_NUMBER * 100:
        reader.problem(node, "number too large", f"stay within {MAX_NUMBER:,}")
    if value == value.to_integral_value():
        return int(value)
    if unit == MONEY:
        reader.problem(node, "money with more than two decimals", "write at most two decimals")
    return float(value)


def _values(
    reader: Reader, told: Reader, thens: list[Node], otherwise: Node | None, unit: str | None
) -> tuple[Type, list[Value]]:
    """The table's type and the value of each row, that of `otherwise` last."""
    given: list[tuple[Reader, Node]] = [(told, node) for node in thens]
    if otherwise is not None:
        given.append((reader, otherwise))
    texts = [_shown(node) for _, node in given]
    sound = [teller.cell(cell, number=bool(unit)) for teller, node in given for cell in _scalars(node)]
    if not all(sound):
        return number(unit) if unit else enum(*_all(texts)), []
    if unit or all(isinstance(n, Scalar) and not n.style and re.fullmatch(NUMBER, n.value.strip()) for _, n in given):
        numbers: list[Value] = []
        for (teller, node), text in zip(given, texts, strict=True):
            if not re.fullmatch(NUMBER, text):
                meant = number_meant(text)
                remedy = f"write {meant}" if meant else "write digits such as 1_000_000 or 0.5"
                teller.problem(node, f'not a number: "{text[:40]}"', remedy)
            else:
                numbers.append(_number(teller, node, text, unit))
        return number(unit), numbers
    for (teller, node), text in zip(given, texts, strict=True):
        if not isinstance(node, Listing) and not _quoted(node) and re.fullmatch(r"[-+]?[0-9][0-9_.,]*( ?%)?", text):
            remedy = "write digits such as 1_000_000 or 0.3 in every row, or put each text in quotes"
            teller.problem(node, f'"{text[:40]}" is among texts', remedy)
        if isinstance(node, Mapping) or not all(part.strip() for part in text.split("|")):
            teller.problem(node, "no value", "write a number, a text, or texts such as sms | email")
    if any(isinstance(node, Listing) or "|" in text for (_, node), text in zip(given, texts, strict=True)):
        lists = [tuple(part.strip() for part in text.split("|")) for text in texts]
        for (teller, node), values in zip(given, lists, strict=True):
            for value in values:
                if value and value not in CHANNELS:
                    teller.problem(node, f'"{value[:40]}" is not a channel', nearest(value, CHANNELS))
        return Type("list", None, _all(value for values in lists for value in values)), list(lists)
    return enum(*_all(texts)), list(texts)


def _scalars(node: Node) -> list[Scalar]:
    parts = node.items if isinstance(node, Listing) else [node]
    return [part for part in parts if isinstance(part, Scalar)]


def _quoted(node: Node) -> bool:
    return isinstance(node, Scalar) and node.style in ("'", '"')


def _all(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


# -- what suits whom --------------------------------------------------------------------------------------------------


def products_file(root: Node | None) -> str:
    """The CSV file that policy.yaml names, if it does."""
    said = root.entries.get("suitability") if isinstance(root, Mapping) else None
    named = said[1].entries.get("products") if said is not None and isinstance(said[1], Mapping) else None
    return named[1].value if named is not None and isinstance(named[1], Scalar) else ""


def read_suitability(
    reader: Reader, root: Node, scope: Scope, sheets: Sheets, declared: Declared
) -> Suitability | None:
    node = root.entries["suitability"][1] if isinstance(root, Mapping) and "suitability" in root.entries else None
    if node is None:
        return None
    fields = reader.mapping(node, ("products",), SUITABILITY_KEYS[1:])
    if ("assessed" in fields) != ("within" in fields) and reader.whole(node, fields):
        remedy = "write assessed: client.days_since_risk_assessment, within: 365d, or neither"
        reader.problem(node, "assessed and within go together", remedy)
    sheet = sheets.sheet(reader, fields.get("products"))
    assessed = reader.expression(fields["assessed"], scope, number("days")) if "assessed" in fields else None
    within = reader.duration(fields["within"], "d", DAY_S, MAX_WITHIN_S) if "within" in fields else None
    black = reader.mapping(fields["blacklist"], (), BLACKLIST_KEYS) if "blacklist" in fields else {}
    lists = tuple(declared.lists)
    clients, products = (_listed(reader, black.get(key), lists) for key in BLACKLIST_KEYS)
    return Suitability(_products(sheet) if sheet is not None else {}, assessed, within, clients, products)


def read_answers(reader: Reader, root: Node, scope: Scope) -> tuple[tuple[str, Expression], ...]:
    """How much a client answers to a channel."""
    node = root.entries["answers"][1] if isinstance(root, Mapping) and "answers" in root.entries else None
    return tuple(
        (reader.choice(key, CHANNELS), reader.expression(value, scope, number())) for key, value in reader.entries(node)
    )


def read_not_while(
    reader: Reader, root: Node, classes: tuple[ContactClass, ...], scope: Scope
) -> tuple[ContactClass, ...]:
    """The classes, each with what keeps it from a client."""
    written = root.entries.get("classes") if isinstance(root, Mapping) else None
    found = {key.value: value for key, value in (reader.entries(written[1]) if written else ())}

    def bars(name: str) -> tuple[tuple[str, Expression], ...]:
        said = found.get(name)
        node = said.entries["not_while"][1] if isinstance(said, Mapping) and "not_while" in said.entries else None
        if isinstance(node, Mapping) and not node.entries:
            reader.problem(node, "nothing in not_while", "write a name and a condition, or leave not_while out")
        entries = reader.entries(node)
        return tuple((reader.word(key, IDENTIFIER), reader.expression(value, scope, BOOL)) for key, value in entries)

    return tuple(replace(one, not_while=bars(one.name)) for one in classes)


def _listed(reader: Reader, node: Node | None, lists: tuple[str, ...]) -> str | None:
    """The name of a list."""
    scalar = reader.scalar(node)
    if scalar is None:
        return None
    if scalar.value not in lists and not reader.unsure.any_name and scalar.value not in reader.unsure.names:
        remedy = nearest(scalar.value, lists) if lists else "declare it in definitions.yaml, under lists"
        reader.wrong(scalar, f'no list "{scalar.value[:80]}"', remedy)
    return scalar.value


def _products(sheet: Sheet) -> dict[str, Product]:
    told, columns = sheet.reader, [cell.value for cell in sheet.header]
    for cell in sheet.header:
        if cell.value not in COLUMNS:
            told.wrong(cell, f'unknown column "{cell.value[:80]}"', nearest(cell.value, COLUMNS))
    for column in COLUMNS[:2]:
        if column not in columns:
            told.problem(
                sheet.header[0],
                f"no column {column}",
                f"the columns are {', '.join(COLUMNS)}; the last two may be left out",
            )
    found: dict[str, Product] = {}
    if len(sheet.rows) > MAX_PRODUCTS:
        told.problem(sheet.rows[MAX_PRODUCTS][0], f"{len(sheet.rows):,} products", f"at most {MAX_PRODUCTS:,}")
    for row in sheet.rows:
        cells = dict(zip(columns, row, strict=True))
        name = cells.get("product")
        if name is None or not told.cell(name):
            continue
        if not name.value or len(name.value) > MAX_PRODUCT_NAME or name.value in found:
            said = "product twice" if name.value in found else "a long text" if name.value else "empty value"
            told.problem(name, said, f"write each product once, with 1 to {MAX_PRODUCT_NAME} characters")
        class_ = told.choice(cells["risk_class"], RISK_CLASSES) if "risk_class" in cells else ""
        youngest, oldest = (_years(told, cells.get(column)) for column in COLUMNS[2:])
        found[name.value] = Product(name.value, class_, youngest, oldest)
    return found


def _years(told: Reader, cell: Scalar | None) -> int | None:
    return told.integer(cell, 0, OLDEST) if cell is not None and cell.value else None
