"""Texts that no event can have or ever had, and what spreadsheets have probably changed: L108 to L110.

Enters: a RuleSet, a sample of events. Leaves: findings at the value: in a condition, or in the list or its CSV file.
Holds: L108 is proved by the forms of the events' fields; L109 and L110 are likely.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from engine.core.contract.events import Event
from engine.core.contract.topic import Topic, written_as
from engine.core.contract.topics import TOPICS, Kinds
from engine.core.language.expressions import Expression
from engine.core.language.functions import FUNCTIONS
from engine.core.rules import names
from engine.core.rules.occasion import Becomes, Sequence
from engine.core.rules.ruleset import Feature, RuleSet
from engine.core.text import Form, plain
from engine.rulefile.lint.findings import Findings
from engine.rulefile.read.definitions import list_cells
from engine.rulefile.source.csv_file import Sheets
from engine.rulefile.source.fields import Reader
from engine.rulefile.source.parts import LISTED, leaves, texts_of
from engine.rulefile.source.places import Place, Places
from engine.rulefile.source.spreadsheet import DATE, cut_zeros, likely_damage
from engine.rulefile.source.unsure import Unsure

Use = tuple[str, str]  # a name whose texts are asked, and the function that looks for them; empty: they are whole
DATA: Final = "write what the data has"
MAX_SHOWN: Final = 20  # findings of one kind in a list
USUAL: Final = 0.6  # of a list's values have the form that the others should have, too


@dataclass(slots=True)
class Sample:
    """The texts that events had, by the name that rules ask for."""

    events: Counter[str] = field(default_factory=Counter)  # by topic
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)  # name -> topic

    @staticmethod
    def of(events: Iterable[tuple[str, Event]], kinds: Kinds = TOPICS) -> Sample:
        """`kinds` has those of the events."""
        sample = Sample()
        asked = {name: list(_asked(kind)) for name, kind in kinds.items()}
        for topic, event in events:
            sample.events[topic] += 1
            for name, attribute in asked[topic]:
                value = getattr(event, attribute)
                if isinstance(value, str):
                    sample.topics[name] = topic
                    sample.seen.setdefault(name, Counter())[value] += 1
        return sample

    def has(self, name: str, text: str, function: str) -> bool:
        """Also true where there is nothing to compare with."""
        seen = self.seen.get(name)
        if not seen or (not function and text in seen):
            return True
        code = FUNCTIONS[function].code if function else None
        return code is not None and any(code(value, text) for value in seen)

    def said(self, name: str, text: str) -> str:
        """`(12 events looked through; nearest: 600519)`"""
        near = _nearest(text, self.seen[name])
        number = self.events[self.topics[name]]
        return f"({number:,} event{'s'[: number != 1]} looked through{f'; nearest: {near}' if near else ''})"


def _asked(of: Topic) -> Iterator[tuple[str, str]]:
    """Each name that is a text, and the event's attribute that it comes from; nothing personal is looked through."""
    for asked in of.names:
        if asked.personal:
            continue
        yield f"{of.singular}.{written_as(asked.field)}", asked.field
    for fact in of.facts:
        yield f"client.{written_as(fact.attribute)}", fact.field


def _nearest(text: str, seen: Iterable[str]) -> str | None:
    for alike in (_core, _digits):
        if wanted := alike(text):
            for value in seen:
                if alike(value) == wanted:
                    return value
    close = difflib.get_close_matches(text, list(seen), n=1)
    return close[0] if close else None


def _core(text: str) -> str:
    return re.sub("[^0-9a-z]", "", plain(text).lower()).lstrip("0")


def _digits(text: str) -> str:
    return re.sub("[^0-9]", "", plain(text)).lstrip("0")


def look(rule_set: RuleSet, findings: Findings, sample: Sample | None) -> None:
    asked = _Asked(rule_set)
    if sample is not None:
        _conditions(rule_set, findings, asked, sample)
        _tables(rule_set, findings, sample)
    uses = asked.lists()
    sheets = Sheets(dict(rule_set.files), Unsure(published=True), [])
    for name, home in findings.places.declared["lists"].items():
        node = findings.places.roots[home.file].key("lists", name)
        reader = Reader(home.file, home.text, Unsure(published=True))
        declared = reader.mapping(
            node.node if node else None, (), ("values", "file", "column", "last_day", "description")
        )
        told, cells = list_cells(reader, declared, sheets)
        if told is not None:
            places = {cell.value: Place(told.file, told.text, cell) for cell in cells}
            _List(findings, name, home, places, uses.get(name, set()), asked).look(sample)


def _conditions(rule_set: RuleSet, findings: Findings, asked: _Asked, sample: Sample) -> None:
    """Texts in conditions. Of a name with few values, one that is asked for and came is enough."""
    for subject, home, at, expression in _written(rule_set, findings.places):
        for part in leaves(expression):
            for name, texts, function in texts_of(part.tree):
                source = asked.sources.get(name, name)
                missing = [text for text in texts if text[0] != LISTED and not sample.has(source, text, function)]
                if asked.forms.get(name) is None and len(missing) < len(texts):
                    continue
                for text in missing:
                    message = f'no event ever had {name} "{text}" {sample.said(source, text)}'
                    findings.add("L110", at, subject, message, DATA, home=home, offset=part.offset)


def _written(rule_set: RuleSet, places: Places) -> Iterator[tuple[str, Place, Place, Expression]]:
    """Each expression that is written alone: whose, where that is, where the expression is."""
    found: list[tuple[str, Place | None, tuple[str, ...], Expression | None]] = []
    for rule in rule_set.rules:
        subject, home = f'rule "{rule.id}"', places.rules.get(rule.id)
        found.append((subject, home, ("becomes" if isinstance(rule.occasion, Becomes) else "when",), rule.when))
        found += [(subject, home, ("parameters", name), value) for name, value in rule.parameters]
        if isinstance(sequence := rule.occasion, Sequence):
            second = "without" if sequence.absent else "then"
            found.append((subject, home, ("sequence", "first", "when"), sequence.first.when))
            found.append((subject, home, ("sequence", second, "when"), sequence.then.when))
    for segment in rule_set.tiers.segments:
        found.append((f'segment "{segment.id}"', places.segments.get(segment.id), ("when",), segment.when))
    for stage in rule_set.stages:
        found.append((f'stage "{stage.id}"', places.stages.get(stage.id), ("when",), stage.when))
    for kind, key, declared in (
        ("definition", "define", {d.name: ("is", d.expression) for d in rule_set.definitions}),
        ("feature", "features", {f.name: ("where", f.where) for f in rule_set.features}),
    ):
        for name, (last, expression) in declared.items():
            at = places.declared[key].get(name)
            root = places.roots[at.file] if at else None
            found.append((f'{kind} "{name}"', root, (key, name, last), expression))
    for subject, home, path, expression in found:
        place = home.key(*path) if home else None
        if home is not None and place is not None and expression is not None:
            yield subject, home, place, expression


def _tables(rule_set: RuleSet, findings: Findings, sample: Sample) -> None:
    for table in rule_set.tables:
        home = findings.places.declared["tables"].get(table.name)
        asked = [(row, *pair) for row in table.rows for pair in zip(table.inputs, row.cells, strict=True)]
        for row, column, cell in asked:
            for text in cell.values if cell else ():
                if home is not None and isinstance(text, str) and not sample.has(column, text, ""):
                    message = f'no event ever had {column} "{text}" of {row.place} {sample.said(column, text)}'
                    findings.add("L110", home, f'table "{table.name}"', message, DATA, home=home)


class _Asked:
    """Which names' texts are compared with which lists."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.rule_set = rule_set
        self.forms: dict[str, Form | None] = {
            name: function.form for name, function in FUNCTIONS.items() if function.form
        }
        self.sources: dict[str, str] = {"maturity.symbol": "trade.symbol"}  # whose texts a name has
        for known in (
            *names.client_names((), ()),
            *(n for kind in rule_set.kinds for n in names.event_names(kind, rule_set.kinds)),
            *names.MATURITY_NAMES,
        ):
            if known.form is not None:
                self.forms[known.name] = known.form
        for feature in rule_set.features:
            self._feature(feature)
        for definition in rule_set.definitions:
            said = getattr(definition.expression.tree, "id", None)
            if said in self.forms:
                self.forms[definition.name] = self.forms[said]
                self.sources[definition.name] = self.sources.get(said, said)

    def _feature(self, feature: Feature) -> None:
        known = names.feature_type(feature)
        if known.kind == "text" and feature.field is not None:
            field_ = feature.of_field
            self.forms[feature.name], self.sources[feature.name] = field_.form, field_.name

    def lists(self) -> dict[str, set[Use]]:
        found: dict[str, set[Use]] = {}
        for expression in _expressions(self.rule_set):
            for name, texts, function in texts_of(expression.tree):
                for text in texts:
                    if text[0] == LISTED:
                        found.setdefault(text[1:], set()).add((name, function))
        return found


def _expressions(value: Any) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, dict):
        yield from _expressions(tuple(value.values()))
    elif isinstance(value, tuple):
        for item in value:
            yield from _expressions(item)
    elif is_dataclass(value):
        for field_ in fields(value):
            yield from _expressions(getattr(value, field_.name))


class _List:
    """One list: its values, each with its place, and what is compared with them."""

    def __init__(
        self, findings: Findings, name: str, home: Place, places: dict[str, Place], uses: set[Use], asked: _Asked
    ) -> None:
        self.findings, self.home, self.uses, self.asked = findings, home, sorted(uses), asked
        self.subject = f'list "{name}"'
        self.places = places

    def add(self, code: str, text: str, message: str, remedy: str) -> None:
        self.findings.add(code, self.places[text], self.subject, message, remedy, home=self.home)

    def look(self, sample: Sample | None) -> None:
        never = {text: said for text in self.places if (said := self.never(text))}
        for text, said in never.items():
            self.add("L108", text, *said)
        likely = {text: said for text, said in self.likely().items() if text not in never}
        for text, said in likely.items():
            self.add("L109", text, *said)
        if sample is not None:
            self.unseen(sample, [text for text in self.places if text not in never])

    def never(self, text: str) -> tuple[str, str] | None:
        """Why nothing that is compared with the list can have it."""
        reasons = []
        for name, function in self.uses:
            form = self.asked.forms.get(name)
            if form is None or (form.can_have(text, function) if function else form.fits(text)):
                return None
            reasons.append((name, form))
        if not reasons:
            return None
        name, form = reasons[0]
        meant = form.instead(text)
        return f'"{text}" is never {name}: it is {form.says}', f"write {meant}" if meant else DATA

    def likely(self) -> dict[str, tuple[str, str]]:
        texts = list(self.places)
        found = {text: (f'"{text}" {said[0]}', said[1]) for text in texts if (said := likely_damage(text))}
        found |= cut_zeros(texts)
        dates = [text for text in texts if DATE.fullmatch(text)]
        if 2 * len(dates) < len(texts):
            day = "looks like a day that a spreadsheet made of a code"
            found |= {text: (f'"{text}" {day}', "write the code, in a column that is text") for text in dates}
        return {**self.odd(texts), **found}

    def odd(self, texts: list[str]) -> dict[str, tuple[str, str]]:
        """Codes with as many digits as the others, written otherwise: 600519 beside 600036.SH."""
        shapes = {text: re.sub("[A-Z]", "A", re.sub("[a-z]", "a", re.sub("[0-9]", "9", text))) for text in texts}
        usual, number = Counter(shapes.values()).most_common(1)[0]
        if number < USUAL * len(texts) or usual.count("9") < 3:
            return {}
        example = next(text for text in texts if shapes[text] == usual)
        return {
            text: (f'"{text}" is written otherwise than the others, such as {example}', "write it as they are")
            for text in texts
            if shapes[text] != usual and shapes[text].count("9") == usual.count("9") and text.isascii()
        }

    def unseen(self, sample: Sample, texts: list[str]) -> None:
        uses = [(self.asked.sources.get(name, name), function) for name, function in self.uses]
        uses = [(name, function) for name, function in uses if sample.seen.get(name)]
        if not uses:
            return
        name = uses[0][0]
        missing = [text for text in texts if not any(sample.has(of, text, function) for of, function in uses)]
        for text in missing[:MAX_SHOWN]:
            self.add("L110", text, f'no event ever had {name} "{text}" {sample.said(name, text)}', DATA)
        if len(missing) > MAX_SHOWN:
            message = f"no event ever had {len(missing) - MAX_SHOWN:,} more of its {len(texts):,} values"
            self.findings.add("L110", self.home, self.subject, message, "write what the data has", home=self.home)
