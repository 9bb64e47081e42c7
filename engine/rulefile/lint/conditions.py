"""Conditions that never or always hold, whole and in part: L101 to L104.

Enters: a RuleSet. Leaves: findings.
Holds: each is proved for every trigger that it is said of.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping
from collections.abc import Sequence as List
from typing import Final

from engine.core.activity.layout import MAX_SUM
from engine.core.language.expressions import BOOL, Expression, parse
from engine.core.language.functions import FUNCTIONS
from engine.core.language.types import MONEY
from engine.core.rules.occasion import TIER_AT_RISK, Becomes, Sequence, on, trigger_about
from engine.core.rules.policy import POLICY_FILE
from engine.core.rules.ruleset import Rule
from engine.rulefile.lint.findings import Findings
from engine.rulefile.proof.narrowing import World, impossible
from engine.rulefile.proof.ranges import INF, Choice
from engine.rulefile.proof.worlds import MAX_DAYS, Worlds, event_world
from engine.rulefile.source.parts import Part, conjuncts, leaves, texts_of, written_alone
from engine.rulefile.source.places import Place

UNSAID: Final = (INF, MAX_DAYS, MAX_SUM)  # upper bounds that mean "no bound"
RELATED: Final = ("client.type", "client.tier")  # one implies the other


def look(certain: Worlds, findings: Findings) -> None:
    rule_set, places = certain.rule_set, findings.places
    notice = any(ladder.gives_notice for ladder in rule_set.tiers.ladders.values())
    for rule in rule_set.rules:
        home = places.rules.get(rule.id)
        if home is not None and rule.triggers == (TIER_AT_RISK,) and not notice:
            said = "can never hold: no ladder of tiers.yaml has a grace or a review"
            findings.add("L101", home, f'rule "{rule.id}"', said, "add one, or remove the rule", home=home)
            continue
        for expression, at, worlds in _conditions(certain, rule, home):
            if at is not None and home is not None:
                Look(findings, f'rule "{rule.id}"', home, at, worlds).condition(expression)
    for what, listed, found in (
        ("segment", rule_set.tiers.segments, places.segments),
        ("stage", rule_set.stages, places.stages),
    ):
        for segment in listed:
            home = found.get(segment.id)
            at = home.key("when") if home else None
            if home is not None and at is not None:
                worlds = {"": certain.of(None)}
                Look(findings, f'{what} "{segment.id}"', home, at, worlds).condition(segment.when)
    for definition in rule_set.definitions:
        home = places.declared["define"].get(definition.name)
        at = places.roots[home.file].key("define", definition.name, "is") if home else None
        if home is not None and at is not None and definition.expression.type == BOOL:
            worlds = {"": certain.of(trigger_about(definition.on, rule_set.kinds))}
            Look(findings, f'definition "{definition.name}"', home, at, worlds).condition(definition.expression)
    for one in rule_set.policy.classes:
        home = places.roots[POLICY_FILE].key("classes", one.name, "not_while")
        for name, condition in one.not_while:
            at = home.key(name) if home is not None else None
            if home is not None and at is not None:
                Look(findings, f"class {one.name}", home, at, {"": certain.of(None)}).condition(condition)
    score = rule_set.tiers.value_score
    home = places.roots["tiers.yaml"].key("value_score")
    if score is not None and home is not None and _is_money(score, certain):
        message, remedy = "is money, and counts as CNY", "divide it by an amount, such as `/ cny(10_000)`"
        findings.add("L107", home, "value_score", message, remedy, home=home)
    for feature in rule_set.features:
        home = places.declared["features"].get(feature.name)
        at = places.roots[home.file].key("features", feature.name, "where") if home else None
        if home is not None and at is not None and feature.where is not None:
            worlds = {"": event_world(feature.source, rule_set.kinds)}
            Look(findings, f'feature "{feature.name}"', home, at, worlds).condition(feature.where)


def _is_money(score: Expression, certain: Worlds) -> bool:
    """As it is written; what was read of it counts in CNY."""
    written = parse(score.text, certain.scope(None))
    return isinstance(written, Expression) and written.type.unit == MONEY


def _conditions(
    certain: Worlds, rule: Rule, home: Place | None
) -> list[tuple[Expression, Place | None, dict[str, World]]]:
    """A rule's conditions, each with its place and what is certain on each of its triggers."""
    if home is None:
        return []
    key = "becomes" if isinstance(rule.occasion, Becomes) else "when"
    worlds = {str(trigger): certain.of(trigger, rule) for trigger in rule.triggers}
    found = [(rule.when, home.key(key), worlds)]
    if isinstance(sequence := rule.occasion, Sequence):
        second = "without" if sequence.absent else "then"
        for step, name in ((sequence.first, "first"), (sequence.then, second)):
            found.append((step.when, home.key("sequence", name, "when"), {step.on: certain.of(on(step.on))}))
    return found


class Look:
    """One condition. `worlds`: what is certain, by trigger."""

    def __init__(self, findings: Findings, subject: str, home: Place, at: Place, worlds: Mapping[str, World]) -> None:
        self.findings, self.subject, self.home, self.at, self.worlds = findings, subject, home, at, worlds

    def add(self, code: str, message: str, remedy: str, offset: int) -> None:
        self.findings.add(code, self.at, self.subject, message, remedy, home=self.home, offset=offset)

    def condition(self, expression: Expression) -> None:
        if expression.text.strip() == "True":
            return  # written on purpose
        never = [trigger for trigger, world in self.worlds.items() if impossible(world, (expression.tree, True))]
        if never and len(never) == len(self.worlds):
            offset, why = self.reason(expression)
            self.add("L101", f"can never hold: {why}", "correct it, or remove the rule that needs it", offset)
            return
        if never:
            said = f"can never hold on {', '.join(never)}"
            self.add("L101", said, f"take {' and '.join(never)} out of on, or correct the condition", 0)
        if self.all_impossible((expression.tree, False)):
            self.add("L102", "always holds", "correct it, or write True to say that it is meant", 0)
            return
        for part in leaves(expression):
            if part.text in ("True", "False"):
                continue
            if self.all_impossible((part.tree, True)):
                why = self.bounds(part)
                self.add("L103", f"`{part.text}` can never hold{why}", "correct it, or remove it", part.offset)
            elif self.all_impossible((part.tree, False)):
                why = self.bounds(part)
                self.add("L104", f"`{part.text}` always holds{why}", "remove it, or correct it", part.offset)
            else:
                self.missing(expression, part)
                self.some(part)

    def missing(self, expression: Expression, part: Part) -> None:
        """What becomes of it where a value is missing that it asks for."""
        names = {node.id for node in ast.walk(part.tree) if isinstance(node, ast.Name)}
        unequal = isinstance(part.tree, ast.Compare) and isinstance(part.tree.ops[0], (ast.NotEq, ast.NotIn))
        if not part.negated and not unequal:
            return
        if isinstance(part.tree, ast.Call) and ast.unparse(part.tree.func) == "known":
            return
        as_it_is, other = (_given(expression.tree, part.tree, holds) for holds in (False, True))
        turned = ((as_it_is, part.negated), (other, not part.negated))
        open_ = [name for name in sorted(names) if self.may_lack(name, *turned)]
        if not open_:
            return
        said, known = " or ".join(open_), " and ".join(f"known({name})" for name in open_)
        if part.negated:
            message = f"`not` over `{part.text}` holds where {said} is missing, too"
            remedy = f"add `{known} and`, or `not known({open_[0]}) or` to say that it is meant"
            self.add("L105", message, remedy, part.offset)
        else:
            message = f"`{part.text}` is false where {said} is missing"
            remedy = f"write `(not known({open_[0]}) or {part.text})`, or `{known} and` to say that it is meant"
            self.add("L106", message, remedy, part.offset)

    def may_lack(self, name: str, *assumed: tuple[ast.expr, bool]) -> bool:
        """Whether all this may be so while the value is missing."""
        lacking = (ast.Call(ast.Name("known", ast.Load()), [ast.Name(name, ast.Load())], []), False)
        return any(
            name in world.domains and world.domains[name].missing and not impossible(world, *assumed, lacking)
            for world in self.worlds.values()
        )

    def some(self, part: Part) -> None:
        """Of several written texts, those that cannot be."""
        for _, values, _ in texts_of(part.tree):
            for value in values if len(values) > 1 else ():
                one = written_alone(part.tree, value)
                if one is not None and self.all_impossible((one, True)):
                    why = self.bounds(Part(part.text, part.offset, one))
                    self.add("L108", f'"{value}" can never be{why}', "correct it, or remove it", part.offset)

    def all_impossible(self, *assumptions: tuple[ast.expr, bool]) -> bool:
        return all(impossible(world, *assumptions) for world in self.worlds.values())

    def reason(self, expression: Expression) -> tuple[int, str]:
        """Where, and why: the part that cannot hold, or two that exclude each other."""
        parts = conjuncts(expression)
        for part in parts:
            if self.all_impossible((part.tree, True)):
                return part.offset, f"`{part.text}`{self.bounds(part)}" if len(parts) > 1 else self.alone(part)
        for one, two in itertools.combinations(parts, 2):
            if self.all_impossible((one.tree, True), (two.tree, True)):
                return two.offset, f"`{one.text}` and `{two.text}` exclude each other"
        return 0, "its parts exclude one another"

    def alone(self, part: Part) -> str:
        return self.bounds(part).removeprefix(", as ") or "its parts exclude one another"

    def form_said(self, part: Part) -> str:
        """What the texts of the name look like that written ones are compared with."""
        for name, texts, sought in texts_of(part.tree):
            domains = [world.domains[name].values for world in self.worlds.values() if name in world.domains]
            forms = [domain.form for domain in domains if isinstance(domain, Choice)]
            form = FUNCTIONS[name].form if name in FUNCTIONS else next(iter(forms), None)
            if form is not None:
                meant = form.instead(texts[0]) if len(texts) == 1 and not sought else None
                return f", as {name} is {form.says}" + (f": perhaps {meant}" if meant else "")
        return ""

    def bounds(self, part: Part) -> str:
        """What the one name of a comparison can be, in words."""
        if form_said := self.form_said(part):
            return form_said
        names = {node.id for node in ast.walk(part.tree) if isinstance(node, ast.Name)}
        domains = {
            name: [world.domains[name] for world in self.worlds.values() if name in world.domains] for name in names
        }
        if len(names) != 1 or not isinstance(part.tree, ast.Compare) or not all(domains.values()):
            return ""
        name, known = next(iter(domains.items()))
        if any(isinstance(domain.values, Choice) for domain in known):
            return ""
        low, high = min(d.hull()[0] for d in known), max(d.hull()[1] for d in known)
        if low == -INF:
            return ""
        divisor = 100 if "_cny" in name else 1
        said = [f"{low / divisor:,.0f}", f"{high / divisor:,.0f}"]
        return f", as {name} is {f'from {said[0]} to {said[1]}' if high not in UNSAID else f'{said[0]} or more'}"


def _given(tree: ast.expr, part: ast.expr, holds: bool) -> ast.expr:
    """The condition as if this part held, or did not."""
    if tree is part:
        return ast.Constant(holds)
    match tree:
        case ast.BoolOp():
            return ast.BoolOp(tree.op, [_given(value, part, holds) for value in tree.values])
        case ast.UnaryOp(op=ast.Not()):
            return ast.UnaryOp(tree.op, _given(tree.operand, part, holds))
    return tree


def implied(worlds: List[World], narrower: Expression, wider: Expression) -> bool:
    """Whether it is certain that the one holds only where the other does. Tried where they speak of the same things."""
    if not {*wider.names} <= {*narrower.names, *RELATED}:
        return False
    return all(impossible(world, (narrower.tree, True), (wider.tree, False)) for world in worlds)
