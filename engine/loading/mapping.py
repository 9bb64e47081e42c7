"""A mapping: which topic a file's rows are for, and which column each field of the event comes from.

Enters: YAML. Leaves: for each row, the record that it stands for, or what is wrong with it.
Holds: what a column says is only written in another form; whether it is an event is for the engine to say, as of any
record. Nothing is guessed: a value that does not fit its field is named, and the row refused.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import zoneinfo
from collections.abc import Iterable
from collections.abc import Mapping as Fields
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal, get_args

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from engine.core.contract.events import DeclaredEvent
from engine.core.contract.topic import COMMON, nested
from engine.core.contract.topics import EVENTS, TOPICS, inbound_topics
from engine.runtime.errors import Refused

Form = Literal["text", "integer", "number", "bool", "time", "object"]
FORMS: Final = get_args(Form)
EPOCHS: Final = {"epoch_s": 1000, "epoch_ms": 1}
EMPTY: Final = ("", None)
WORDS: Final = {"true": True, "false": False}
_KEYS: Final = ("files", "topic", "encoding", "separator", "zone", "fields")
_FIELD_KEYS: Final = ("column", "columns", "value", "values", "format", "zone", "times", "as")


class _WrongValue(ValueError):
    """Its text says what is wrong, and no value of the row."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a field comes from."""

    columns: tuple[str, ...] = ()  # joined by "-" when there are several
    value: Any = None  # the same for all rows
    values: Fields[str, Any] = field(default_factory=dict)  # what a column says -> what the field says
    format: str | None = None  # of a time: as strptime has it, epoch_s or epoch_ms; None: RFC 3339
    zone: str | None = None  # of a time without an offset
    times: Decimal | None = None  # a number is multiplied by it
    form: Form = "text"


@dataclass(frozen=True, slots=True)
class Mapping:
    """An entry of a mapping."""

    files: str
    topic: str
    fields: Fields[str, Source]
    encoding: str = "utf-8"
    separator: str | None = None
    zone: str | None = None
    type: str = "DeclaredEvent"

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(column for source in self.fields.values() for column in source.columns)

    def missing(self, columns: Iterable[str]) -> str | None:
        """What is wrong with a file that has these columns."""
        found = list(columns)
        twice = sorted({name for name in found if found.count(name) > 1 and name in self.columns})
        if twice:
            return f"the column {twice[0]} is there twice: rename one"
        lost = sorted(self.columns - set(found))
        if not lost:
            return None
        close = difflib.get_close_matches(lost[0], found, n=1)
        hint = f' (is it "{close[0]}"?)' if close else ""
        return f'there is no column "{lost[0]}"{hint}; there are: {", ".join(map(str, found))[:500]}'

    def record(self, row: Fields[str, Any]) -> tuple[str, bytes | None, int, bytes] | str:
        """Topic, key, no record time, value; or what is wrong."""
        event: dict[str, Any] = {}
        for name, source in self.fields.items():
            try:
                value = _value(source, row, self.zone)
            except _WrongValue as error:
                where = f" (column {', '.join(source.columns)})" if source.columns else ""
                return f"{name}{where}: {error}"
            if value is not None:
                _put(event, name, value)
        key = event.get("client_id")
        value = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        return self.topic, str(key).encode() if key is not None else None, -1, value


def _put(event: dict[str, Any], name: str, value: Any) -> None:
    outer, _, inner = name.partition(".")
    if inner:
        event.setdefault(outer, {})[inner] = value
    else:
        event[outer] = value


def _value(source: Source, row: Fields[str, Any], zone: str | None) -> Any:
    if not source.columns:
        return source.value
    found = [row.get(column) for column in source.columns]
    if len(found) > 1:
        if any(part in EMPTY for part in found):
            return None
        return "-".join(str(part).strip() for part in found)
    value = found[0]
    if isinstance(value, str):
        value = value.strip()
    if value in EMPTY:
        return None  # says nothing
    if source.values:
        said = source.values.get(str(value))
        if said is None:
            raise _WrongValue(f"a value that `values` does not name; it names {', '.join(source.values)[:200]}")
        return said
    return _formed(source, value, source.zone or zone)


def _formed(source: Source, value: Any, zone: str | None) -> Any:
    if isinstance(value, bytes | bytearray):
        raise _WrongValue("binary data: write text, or a number")
    match source.form:
        case "time":
            return _time(value, source.format, zone)
        case "integer" | "number":
            return _number(value, source.times, whole=source.form == "integer")
        case "bool":
            said = WORDS.get(value.lower()) if isinstance(value, str) else value
            if not isinstance(said, bool):
                raise _WrongValue("neither true nor false; name what it says under `values`")
            return said
        case "text" if isinstance(value, dt.datetime):
            return value.isoformat()
        case "text" if isinstance(value, float) and value.is_integer():
            return str(int(value))
        case "text":
            return str(value)
        case _:
            return value


def _number(value: Any, times: Decimal | None, *, whole: bool) -> int | float:
    if isinstance(value, bool):
        raise _WrongValue("a bool, not a number")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        hint = "; write it without separators of thousands" if "," in str(value) else ""
        raise _WrongValue(f"not a number{hint}") from None
    if not number.is_finite():
        raise _WrongValue("NaN or infinite")
    number *= times if times is not None else 1
    if number == number.to_integral_value():
        return int(number)
    if whole:
        hint = ": is it CNY, not fen? `times: 100` makes fen of it" if times is None else f" even {times} times"
        raise _WrongValue(f"not a whole number{hint}")
    return float(number)


def _time(value: Any, form: str | None, zone: str | None) -> Any:
    """Epoch milliseconds."""
    if form in EPOCHS:
        return _number(value, Decimal(EPOCHS[form]), whole=True)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if isinstance(value, dt.datetime):
            moment = value
        elif isinstance(value, dt.date):
            moment = dt.datetime(value.year, value.month, value.day)
        elif form is not None:
            moment = dt.datetime.strptime(str(value), form)
        else:
            moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        what = f"of the format {form}" if form is not None else "RFC 3339: name its `format`"
        raise _WrongValue(f"not a time {what}") from None
    if moment.tzinfo is None:
        if zone is None:
            raise _WrongValue('a time without a UTC offset: name its `zone`, such as "Asia/Shanghai"')
        moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


# -- reading a mapping -------------------------------------------------------------------------------------------------


def mapping_of(mappings: list[Mapping], path: Path) -> Mapping | None:
    """The first entry that is for this file."""
    return next((found for found in mappings if fnmatch(path.name, found.files)), None)


def read_mapping(path: Path) -> list[Mapping]:
    """Raises Refused with everything that is wrong."""
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))  # 1.2: yes, no and on are texts
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Refused(f"{path}{line}: not YAML: {error.problem}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: not YAML in UTF-8: {' '.join(str(error).split())}") from error
    entries = found if isinstance(found, list) else [found]
    faults: list[str] = []
    made = [_entry(entry, f"{path}, entry {number}", faults) for number, entry in enumerate(entries, 1)]
    if faults:
        raise Refused("\n".join(faults))
    return [entry for entry in made if entry is not None]


def _unknown(found: Fields[Any, Any], known: Iterable[str], where: str, what: str, faults: list[str]) -> None:
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            faults.append(f"{where}: {what} {name} is unknown{hint}")


def _entry(entry: Any, where: str, faults: list[str]) -> Mapping | None:
    if not isinstance(entry, dict):
        faults.append(f"{where}: not an entry: it needs files, topic and fields")
        return None
    begun = len(faults)
    _unknown(entry, _KEYS, where, "the key", faults)
    topic, columns = entry.get("topic"), entry.get("fields")
    if topic not in inbound_topics():
        faults.append(f"{where}: topic: {topic} is no inbound topic; there are {', '.join(inbound_topics())}")
        return None
    for name in ("files", "encoding", "separator", "zone"):
        if name in entry and not isinstance(entry[name], str):
            faults.append(f"{where}: {name}: must be a text")
    _check_zone(entry.get("zone"), where, faults)
    try:
        "".encode(entry.get("encoding", "utf-8"))
    except (LookupError, TypeError):
        faults.append(f"{where}: encoding: {entry.get('encoding')} is unknown; such as utf-8, gb18030, utf-16")
    if len(entry.get("separator", ",")) != 1:
        faults.append(f'{where}: separator: must be one character, such as ";" or "\\t"')
    forms = forms_of(topic)
    if columns is None:
        columns = {name: name for name in forms if "." not in name}
        if topic == EVENTS:
            faults.append(f"{where}: fields: name them; those of declared events are not known here")
    if not isinstance(columns, dict):
        faults.append(f"{where}: fields: must name a column for each field")
        return None
    sources = {str(name): _source(name, said, topic, forms, where, faults) for name, said in columns.items()}
    model = DeclaredEvent if topic == EVENTS else TOPICS[topic].model
    needed = [name for name, part in model.model_fields.items() if part.is_required()]
    for name in needed:
        if not any(field.partition(".")[0] == name for field in sources):
            faults.append(f"{where}: fields: {name} is missing, and no {topic} are read without it")
    if len(faults) > begun:
        return None
    return Mapping(
        entry.get("files", "*"),
        topic,
        {name: source for name, source in sources.items() if source is not None},
        entry.get("encoding", "utf-8"),
        entry.get("separator"),
        entry.get("zone"),
    )


def _source(name: Any, said: Any, topic: str, forms: Fields[str, Form], where: str, faults: list[str]) -> Source | None:
    where = f"{where}: fields.{name}"
    if topic != EVENTS and name not in forms:
        close = difflib.get_close_matches(str(name), forms, n=1)
        faults.append(f"{where}: {topic} have no such field{f', did you mean {close[0]}?' if close else ''}")
        return None
    if isinstance(said, str):
        said = {"column": said}
    if not isinstance(said, dict) or sum(key in said for key in ("column", "columns", "value")) != 1:
        faults.append(f"{where}: must be a column's name, or have one of column, columns, value")
        return None
    _unknown(said, _FIELD_KEYS, where, "the key", faults)
    _check_zone(said.get("zone"), where, faults)
    form = said.get("as", forms.get(str(name), "text"))
    if form not in FORMS:
        faults.append(f"{where}: as: {form} is unknown; there are {', '.join(FORMS)}")
    times: Decimal | None = None
    if "times" in said:
        try:
            times = Decimal(str(said["times"]))
        except InvalidOperation:
            faults.append(f"{where}: times: must be a number")
        form = "number" if form == "text" else form
    values = said.get("values", {})
    if not isinstance(values, dict):
        faults.append(f"{where}: values: must name what each value of the column stands for")
        values = {}
    columns = said.get("columns", [said["column"]] if "column" in said else [])
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        faults.append(f"{where}: columns: must be a list of names; put names that are numbers in quotes")
        columns = []
    return Source(
        tuple(columns),
        said.get("value"),
        {_as_text(key): value for key, value in values.items()},
        said.get("format"),
        said.get("zone"),
        times,
        form,
    )


def _as_text(key: Any) -> str:
    """YAML reads some texts as something else: true, 1."""
    return {True: "true", False: "false"}.get(key, str(key)) if isinstance(key, bool) else str(key)


def _check_zone(zone: Any, where: str, faults: list[str]) -> None:
    if zone is None:
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, TypeError, OSError, zoneinfo.ZoneInfoNotFoundError):
        faults.append(f'{where}: zone: {zone} is no time zone of IANA, such as "Asia/Shanghai"')


def forms_of(topic: str) -> dict[str, Form]:
    """Field, dotted where it is one of an object, -> the form that its JSON has."""
    if topic == EVENTS:
        return {**dict.fromkeys(COMMON, "text"), "time": "time", "type": "text"}
    model = TOPICS[topic].model
    schema = model.model_json_schema()
    forms: dict[str, Form] = {}
    for name, part in schema["properties"].items():
        forms[name] = "time" if name == "time" else _form(part)
    for name, inner in nested(model).items():
        forms |= {f"{name}.{at}": _form(part) for at, part in inner.model_json_schema()["properties"].items()}
    return forms


def _form(part: Any) -> Form:
    types = {part.get("type")} | {one.get("type") for one in part.get("anyOf", ())}
    if "string" in types or "enum" in part:
        return "text"
    if "integer" in types:
        return "integer"
    if "number" in types:
        return "number"
    return "bool" if "boolean" in types else "object"
