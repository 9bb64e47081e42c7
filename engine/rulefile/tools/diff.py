"""What changed between two rule sets, in words: rule by rule, declaration by declaration, value by value.

Enters: two rule sets. Leaves: Differences.
Holds: layout, comments and the order of rules in files make no difference; none is left out, since the parts are
compared by the fields of their dataclasses.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final

from engine.core.assign.roster import Assignment
from engine.core.language.expressions import Expression
from engine.core.rules.business_days import BusinessCalendar
from engine.core.rules.meaning import FILTERS, filter_meaning, meaning
from engine.core.rules.occasion import (
    Becomes,
    BeforeMaturity,
    Calendar,
    Journey,
    Occasion,
    OnEvents,
    Sequence,
    Silence,
    Unanswered,
)
from engine.core.rules.ruleset import Feature, Rule, RuleSet, Window
from engine.core.rules.tables import Table
from engine.insight.values import firm_time
from engine.rulefile.source.parts import Part, conjuncts
from engine.rulefile.source.places import Places
from engine.rulefile.tools.effects import RULE_MEMORY, pasts
from engine.rulefile.tools.renames import (
    acts_otherwise,
    alone,
    by_present_name,
    likenesses,
    name_of,
    renamed,
    versions_before,
)
from engine.rulefile.tools.tables import between_tables
from engine.rulefile.tools.wording import KEYS, SILENT, becomes, label, said, shortened, text

WRITTEN_AS: Final[dict[type, str]] = {
    OnEvents: "on",
    Silence: "silence",
    Unanswered: "unanswered",
    Becomes: "becomes",
    Calendar: "at",
    BeforeMaturity: "at",
    Sequence: "sequence",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` is rule, feature, tiers, policy, calendar, assignment, advisor, score, list, table, definition, team,
    pause of or tests; `change` is added, removed or changed. Of a snapshot, staff and counted.
    """

    what: str
    name: str
    change: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        head = f"{self.what} {self.name}".rstrip()
        if self.change == "changed":
            return "\n".join([f"{head}:", *(f"  {line}" for line in self.lines)])
        return "\n".join([f"{head}: {self.change}", *(f"  {line}" for line in self.lines)])


def differences(old: RuleSet, new: RuleSet) -> list[Difference]:
    found: list[Difference] = []
    for part in fields(RuleSet):
        before, after = getattr(old, part.name), getattr(new, part.name)
        if part.name in ("digest", "files", "resumed"):
            continue
        if part.name == "paused":
            found += _pauses(old, new)
            continue
        if part.name in ("calendar", "assignment") and None in (before, after):
            change = "added" if before is None else "removed"
            found += [Difference(part.name, "", change, _summary(after or before))] if before != after else []
            continue
        if part.name in ("tiers", "policy", "calendar", "assignment"):
            lines = tuple(_between("", before, after))
            found += [Difference(part.name, "", "changed", lines)] if lines else []
            continue
        what = part.name.removesuffix("s").replace("_", " ")
        ones, others = _by_key(before) or {}, _by_key(after) or {}
        if part.name == "definitions":  # a part of the score is one of them, and reported as that
            ones, others = _declared(ones, old), _declared(others, new)
        ones = by_present_name(ones, others)
        like = likenesses(ones, others)
        if part.name == "rules":
            like |= {name: _beside(former, others[name]) for name, former in versions_before(old, new).items()}
        for name in dict.fromkeys((*ones, *others)):
            found += _one(what, name, ones.get(name), others.get(name), like.get(name, ""))
    lacking = {f'"{past.feature}"': str(past) for past in pasts(old, new)}
    found = [
        replace(each, lines=(*each.lines, lacking[each.name]))
        if each.what == "feature" and each.name in lacking
        else each
        for each in found
    ]
    return found + _tests(old, new)


def _pauses(old: RuleSet, new: RuleSet) -> Iterable[Difference]:
    """What is paused by now, and what is not any more."""
    ones, others = ({pause.rule: pause for pause in rule_set.paused} for rule_set in (old, new))
    ends = {resumption.rule: resumption for resumption in new.resumed}
    for rule in dict.fromkeys((*ones, *others)):
        if rule not in others:
            end = ends.get(rule)
            dropped = ", and what it held is not sent" if end is not None and end.drops else ""
            said = (f"resumed {firm_time(end.at_ms)} by {end.by}: {end.why}{dropped}",) if end is not None else ()
            yield Difference("pause of", f'"{rule}"', "removed", said)
        elif ones.get(rule) != others[rule]:
            pause = others[rule]
            change = "changed" if rule in ones else "added"
            said = (f"since {firm_time(pause.since_ms)} by {pause.by}: {pause.why}",)
            yield Difference("pause of", f'"{rule}"', change, said)


def _declared(definitions: Mapping[str, Any], rule_set: RuleSet) -> dict[str, Any]:
    parts = {part.declared_as for part in rule_set.score}
    return {name: value for name, value in definitions.items() if name not in parts}


def _one(what: str, name: str, before: Any, after: Any, like: str) -> list[Difference]:
    if before is None:
        return [Difference(what, f'"{name}"', "added", (*_summary(after), *[like] * bool(like)))]
    if after is None:
        kept = f"what it did is kept for {RULE_MEMORY}: put back, it goes on from there"
        return [Difference(what, f'"{name}"', "removed", (*_summary(before), *[kept] * isinstance(before, Rule)))]
    lines = []
    if isinstance(before, (Rule, Feature)) and name_of(before) != name:
        lines = [f'renamed: it was "{name_of(before)}", and goes on with what is known of that']
        before = renamed(before, after)
    lines += _versions(before, after) if isinstance(after, Journey) else _between("", before, after)
    if not lines:
        return []
    if isinstance(after, Rule) and after.version <= before.version and acts_otherwise(before, after):
        lines.append(f"its meaning changed, and its version is {after.version} as before: raise it")
    titled = f'"{name}" ({after.title})' if isinstance(after, Rule) else f'"{name}"'
    return [Difference(what, titled, "changed", tuple(lines))]


def _beside(former: Rule, rule: Rule) -> str:
    """What an act of a new version of a journey does otherwise than that of the version before."""
    same_name = renamed(replace(former, version=rule.version), rule)
    lines = [*_between("", same_name, rule)]
    return f"beside {former.id}: {'; '.join(lines) or 'the same'}"


def _versions(before: Journey, after: Journey) -> Iterable[str]:
    """Of a pinned journey what begins is compared with what began before, and what is kept with what was."""
    if not before.pinned and not after.pinned:
        yield from _between("", before, after)
        return
    began, begins = (one.pinned[0] if one.pinned else None for one in (before, after))
    if began != begins:
        now = f"version {begins} begins" if begins is not None else "none"
        yield f"pinned: {'none' if began is None else f'version {began} began'} becomes {now}"
    yield from _between("", alone(before, began), alone(after, begins))
    for version in sorted({*before.pinned, *after.pinned[1:]} - {begins}, reverse=True):
        if version not in before.pinned:
            yield f"earlier {version}: added"
        elif version not in after.pinned:
            yield f"earlier {version}: removed"
        else:
            yield from _between(f"earlier {version}", alone(before, version), alone(after, version))


def _summary(value: Any) -> tuple[str, ...]:
    if isinstance(value, Rule):
        on = ", ".join(map(str, value.triggers))
        return value.title, f"{value.kind} to {value.audience}, on {on}, when {said('', value.when)}"
    if isinstance(value, Assignment):
        return (f"pools {', '.join(pool.name for pool in value.pools)}",)
    if isinstance(value, BusinessCalendar):
        return (f"{value.title}, {value.first_day} to {value.last_day}",)
    if isinstance(value, Table):
        return (f"{len(value.rows)} rows over {', '.join(value.inputs)}",)
    if is_dataclass(value):
        shown = ((f.name, getattr(value, f.name)) for f in fields(value) if f.name not in (*KEYS, *SILENT))
        return (", ".join(f"{label(name)} {said(name, item)}" for name, item in shown if item not in (None, "", ())),)
    return (f"{len(value)} values",) if isinstance(value, tuple) else ()


def _between(path: str, before: Any, after: Any) -> Iterable[str]:
    """A line for each difference; `path` says where in the whole."""
    if meaning(before) == meaning(after):
        return
    if isinstance(before, Expression) and isinstance(after, Expression):
        yield from _conditions(path, before, after)
    elif isinstance(before, Table) and isinstance(after, Table):
        yield from between_tables(before, after)
    elif isinstance(before, Occasion) and isinstance(after, Occasion):
        yield from _occasions(before, after)
    elif is_dataclass(before) and type(before) is type(after) and not isinstance(before, Window):
        for field in fields(before):
            one, other = getattr(before, field.name), getattr(after, field.name)
            filters = FILTERS.get(type(before)) == field.name
            if field.name not in SILENT and not (filters and filter_meaning(one) == filter_meaning(other)):
                yield from _between(f"{path} {label(field.name)}".strip(), one, other)
    elif (ones := _by_key(before)) is not None and (others := _by_key(after)) is not None:
        yield from _keyed(path, ones, others)
    elif isinstance(before, tuple) and isinstance(after, tuple) and all(isinstance(v, str) for v in before + after):
        yield from _lists(path, before, after)
    else:
        yield f"{path}: {becomes(said(path, before), said(path, after))}".removeprefix(": ")


def _occasions(before: Occasion, after: Occasion) -> Iterable[str]:
    """By the words of rule files."""
    if isinstance(before, OnEvents) and isinstance(after, OnEvents):
        yield from _lists("on", tuple(map(str, before.triggers)), tuple(map(str, after.triggers)))
    elif type(before) is type(after):
        for field in fields(before):
            where = f"{WRITTEN_AS[type(before)]} {label(field.name)}"
            yield from _between(where, getattr(before, field.name), getattr(after, field.name))
    else:
        yield becomes(_occasion_said(before), _occasion_said(after))


def _occasion_said(occasion: Occasion) -> str:
    words = ", ".join(map(str, occasion.triggers)) if isinstance(occasion, OnEvents) else said("", occasion)
    return f"{WRITTEN_AS[type(occasion)]} {words}"


def _keyed(path: str, ones: Mapping[str, Any], others: Mapping[str, Any]) -> Iterable[str]:
    gone = {repr(_unnamed(ones[key])): key for key in ones if key not in others}
    for key in dict.fromkeys((*ones, *others)):
        where = f"{path} {key}".strip()
        if key not in others:
            yield f"{where}: removed"
        elif key not in ones:
            former = gone.pop(repr(_unnamed(others[key])), None)
            yield f"{where}: added, {said(path, others[key])}"
            if former is not None:
                yield f"{where}: looks like a rename of {former}"
        else:
            yield from _between(where, ones[key], others[key])
    yield from _order(path, list(ones), list(others))


def _unnamed(value: Any) -> Any:
    """What it means but for its name."""
    found = meaning(value)
    return [part for part in found if not (isinstance(part, tuple) and part and part[0] in KEYS)]


def _order(path: str, before: list[str], after: list[str]) -> Iterable[str]:
    """Of those that stayed."""
    ones, others = set(before), set(after)
    now = [value for value in after if value in ones]
    if [value for value in before if value in others] != now:
        yield f"{path}: order becomes {shortened([text(value) for value in after])}".removeprefix(": ")


def _lists(path: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterable[str]:
    where = f"{path}: " if path else ""
    ones, others = set(before), set(after)
    come, gone = [value for value in after if value not in ones], [value for value in before if value not in others]
    if len(come) == len(gone) == 1 and (changed := becomes(said("", gone[0]), said("", come[0]))).count("\\u"):
        yield f"{where}{changed}"
    else:
        yield from (
            f"{where}{shortened([text(value) for value in v])} {how}"
            for how, v in (("added", come), ("removed", gone))
            if v
        )
    yield from _order(path, list(before), list(after))


def _conditions(path: str, before: Expression, after: Expression) -> Iterable[str]:
    """Term by term: those of one form and other written values are one that changed."""
    where = f"{path}: " if path else ""
    ones, others = conjuncts(before), conjuncts(after)
    gone = [part for part in ones if ast.dump(part.tree) not in {ast.dump(other.tree) for other in others}]
    come = [part for part in others if ast.dump(part.tree) not in {ast.dump(one.tree) for one in ones}]
    lost = []
    for part in gone:
        twin = next((other for other in come if _form(other) == _form(part)), None)
        if twin is None:
            lost.append(part)
        else:
            come.remove(twin)
            yield f"{where}{_changed(part, twin)}"
    if len(lost) == len(come) == 1:
        yield f"{where}{becomes(lost[0].text, come[0].text, '`')}"
        return
    yield from (f"{where}`{part.text}` no longer asked" for part in lost)
    yield from (f"{where}`{part.text}` asked too" for part in come)
    if not gone and not come:
        counts = [Counter(ast.dump(part.tree) for part in parts) for parts in (ones, others)]
        moved = "the order of its terms changed" if counts[0] == counts[1] else "a term is asked once more or less"
        yield f"{where}{moved}"


def _form(part: Part) -> str:
    """The term without its written values."""
    tree = ast.parse(part.text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = None
        elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            node.elts = []
    return ast.dump(tree)


def _changed(part: Part, twin: Part) -> str:
    """The term, and the one value that is other, else the whole term anew."""

    def written(text: str) -> list[str]:
        nodes = ast.walk(ast.parse(text, mode="eval"))
        return [ast.get_source_segment(text, node) or "" for node in nodes if isinstance(node, ast.Constant)]

    ones, others = written(part.text), written(twin.text)
    whole = becomes(part.text, twin.text, "`")
    changed = [(a, b) for a, b in zip(ones, others, strict=False) if a != b]
    if len(ones) != len(others) or len(changed) != 1 or "\\u" in whole:
        return whole
    one, other = changed[0]
    return f"`{part.text}` becomes `{other}`" if len(ones) == 1 else f"`{part.text}`: `{one}` becomes `{other}`"


def _by_key(value: Any) -> dict[str, Any] | None:
    """The items of a mapping, of named dataclasses, or of pairs; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, tuple) or not value:
        return {} if value == () else None
    key = next((key for key in KEYS if all(hasattr(item, key) for item in value)), None)
    if key is not None:
        return {getattr(item, key): item for item in value}
    if all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in value):
        return dict(value)
    return None


def _tests(old: RuleSet, new: RuleSet) -> list[Difference]:
    """Tests do not change what a rule does: they are counted."""
    counts = [_test_counts(rule_set) for rule_set in (old, new)]
    lines = [
        f"{rule_id}: {counts[0].get(rule_id, 0)} becomes {counts[1].get(rule_id, 0)}"
        for rule_id in sorted(counts[0].keys() & counts[1].keys())
        if counts[0][rule_id] != counts[1][rule_id]
    ]
    return [Difference("tests", "", "changed", tuple(lines))] if lines else []


def _test_counts(rule_set: RuleSet) -> dict[str, int]:
    found = {}
    for rule_id, place in Places(rule_set.files).rules.items():
        tests = place.key("tests")
        found[rule_id] = len(getattr(tests.node, "items", ())) if tests else 0
    return found
