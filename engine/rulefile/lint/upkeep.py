"""What keeps a rule set in good order: tests, needs, owners, cooldowns, nothing unused: L301 to L314, L401.

Enters: a RuleSet. Leaves: findings.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any, Final

from engine.core.assign.roster import ADVISORS_FILE, ASSIGNMENT_FILE, takes_room
from engine.core.contract.actions import ACTIONS
from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.language.expressions import Expression, parse
from engine.core.rules.business_days import CALENDAR_FILE
from engine.core.rules.day_lists import days_left, ends_in_words
from engine.core.rules.occasion import BEGINS, Becomes, Calendar, JourneyStep, OnEvents, on, trigger_about
from engine.core.rules.ruleset import Rule, RuleSet, Since
from engine.rulefile.lint.findings import Findings
from engine.rulefile.proof.narrowing import impossible
from engine.rulefile.proof.worlds import Worlds
from engine.rulefile.source.fields import DAY_S, HOUR_S
from engine.rulefile.source.places import Place
from engine.rulefile.source.table_checks import unreachable

# The shortest time between two looks.
RHYTHM_S: Final = {
    "day": DAY_S,
    "trading_day": DAY_S,
    "working_day": DAY_S,
    "week": 7 * DAY_S,
    "month": 28 * DAY_S,
    "quarter": 90 * DAY_S,
    "year": 365 * DAY_S,
}

LINT_DAYS: Final = 90  # before its end
_OF_ROOM: Final = 'assignment_answer.outcome in ("room", "away") and not known(assignment_answer.why)'
_OF_CLIENTS: Final = 'assignment_answer.outcome in ("assigned", "no_capacity", "moved")'
MAX_OWNERS: Final = 100  # that a name is compared with, those of the most rules


def look(worlds: Worlds, findings: Findings) -> None:
    rule_set = worlds.rule_set
    owners = Counter(rule.owner for rule in rule_set.rules)
    known = [owner for owner, count in owners.most_common(MAX_OWNERS) if count > 1 and not rule_set.teams]
    for rule in rule_set.rules:
        home = findings.places.rules.get(rule.id)
        if home is not None:
            _rule(rule, home, owners, known, findings)
    _teams(rule_set, findings)
    _pools(rule_set, findings)
    _open_tasks(rule_set, findings)
    _answers(worlds, findings)
    _unused(rule_set, findings)
    _unknown_rules(rule_set, findings)
    _rows(worlds, findings)


def look_at_days(rule_set: RuleSet, now_ms: int | None, findings: Findings) -> None:
    """Lists of days and the calendar: whether they end, by the clock of whoever asks."""
    left = days_left(rule_set.last_days, now_ms) if now_ms is not None else {}
    for name, day in rule_set.last_days.items():
        home = findings.places.declared["lists"].get(name)
        if name == CALENDAR_FILE:
            home = findings.places.roots[name].key("calendar", "last_day")
        if home is None:
            continue
        subject = "" if name == CALENDAR_FILE else f'list "{name}"'
        if name in left and left[name] <= LINT_DAYS:
            remedy = "add the next days, and raise last_day"
            findings.add("L307", home, subject, ends_in_words(day, left[name]), remedy, home=home)
        if name != CALENDAR_FILE and findings.places.roots[home.file].key("lists", name, "last_day") is None:
            message = f"conditions ask it for days, and it has no last_day: {day} is taken"
            findings.add("L308", home, subject, message, f"write last_day: {day}, or the day that is right", home=home)


def _rule(rule: Rule, home: Place, owners: Counter[str], known: list[str], findings: Findings) -> None:
    def add(code: str, key: str, message: str, remedy: str) -> None:
        findings.add(code, home.key(key) or home, f'rule "{rule.id}"', message, remedy, home=home)

    if home.key("tests") is None and rule.kind != BEGINS and not isinstance(rule.occasion, JourneyStep):
        add("L301", "id", "no tests", "add tests: what is given, what is expected")
    if rule.serves is None:
        add("L302", "id", "does not say which need it serves", "add serves")
    rhythm_s, every = _rhythm(rule)
    seldom = "now" in rule.when.names  # on some days only: a list of dates, the calendar, a weekday
    if rhythm_s and not seldom and rule.cooldown_by is None and rule.cooldown_s > rhythm_s:
        message = f"is evaluated every {every}, and its cooldown outlasts that: it is passed over"
        add("L303", "cooldown", message, "shorten the cooldown, or look more seldom")
    if rule.audience == "client" and rule.cooldown_s < HOUR_S and isinstance(rule.occasion, OnEvents):
        message = "speaks to the client again within the hour"
        add("L304", "cooldown", message, "write a cooldown of at least 1h, better days")
    if owners[rule.owner] == 1:
        close = difflib.get_close_matches(rule.owner, known, n=1, cutoff=0.8)
        if close:
            add("L305", "owner", f'owner "{rule.owner}" has only this rule', f'did you mean "{close[0]}"?')


def _rhythm(rule: Rule) -> tuple[int, str]:
    match rule.occasion:
        case Calendar(every=every) if every in RHYTHM_S:
            return RHYTHM_S[every], every
        case Becomes(repeat_s=repeat_s) if repeat_s:
            days, rest = divmod(repeat_s, DAY_S)
            return repeat_s, f"{repeat_s // 60}m" if rest else f"{days}d"
    return 0, ""


def _teams(rule_set: RuleSet, findings: Findings) -> None:
    """Those that own nothing, and those whose systems would not see what is for them."""
    teams = {team.name: team for team in rule_set.teams}
    owning = {rule.owner for rule in rule_set.rules} | {declared.owner for declared in rule_set.event_types}
    owning |= {pool.team for pool in rule_set.assignment.pools} if rule_set.assignment is not None else set()
    for name in teams:
        at = findings.places.declared["teams"].get(name)
        if at is not None and name not in owning:
            findings.add("L310", at, f'team "{name}"', "owns no rule and no event type", "remove it", home=at)
    for rule in rule_set.rules:
        reads, home = teams[rule.owner].topics if teams else (), findings.places.rules.get(rule.id)
        topic = TOPIC_OF_KIND.get(rule.kind, "")
        if not topic or rule.audience == "client" or not reads or topic in reads or home is None:
            continue
        message = f"its actions go to {topic}, and the systems of {rule.owner} read {', '.join(reads)} alone"
        remedy = f"add {topic} to the team's topics, or choose another kind"
        findings.add("L311", home.key("kind") or home, f'rule "{rule.id}"', message, remedy, home=home)


def _pools(rule_set: RuleSet, findings: Findings) -> None:
    """Pools where nobody can be found, or only once skills are no longer asked for."""
    for pool in rule_set.assignment.pools if rule_set.assignment is not None else ():
        at = findings.places.roots[ASSIGNMENT_FILE].key("assignment", "pools", pool.name)
        advisors = [advisor for advisor in rule_set.advisors if advisor.pool == pool.name and advisor.capacity]
        skills = {skill for advisor in advisors for skill, _ in advisor.skills}
        lacking = [skill for skill, _ in pool.needs if skill not in skills]
        if at is not None and not advisors:
            remedy = "add advisors of this pool, or leave it out"
            findings.add("L312", at, f'pool "{pool.name}"', "no advisor takes clients of it", remedy, home=at)
        elif at is not None and lacking:
            message, remedy = f"none of its advisors has {', '.join(lacking)}", "add the skill, or do not ask for it"
            findings.add("L312", at, f'pool "{pool.name}"', message, remedy, home=at)


def _open_tasks(rule_set: RuleSet, findings: Findings) -> None:
    """A number of open tasks, where nothing is ever open with an advisor; said once."""
    pools = rule_set.assignment.pools if rule_set.assignment is not None else ()
    own = [one for one in rule_set.advisors if one.open_tasks is not None]
    limited: list[tuple[str, tuple[str, ...]]] = [(ADVISORS_FILE, ("advisors", one.name)) for one in own]
    limited += [(ASSIGNMENT_FILE, ("assignment", "pools", one.name)) for one in pools if one.open_tasks is not None]
    if any(takes_room(rule) for rule in rule_set.rules):
        return
    for file, keys in limited:
        root = findings.places.roots.get(file)
        if root is None or (at := root.key(*keys, "open_tasks")) is None:
            continue  # a row of advisors.csv
        message = "no rule has care for an advisor's task or alert, so nothing waits for it"
        findings.add(
            "L313", at, f'open_tasks of "{keys[-1]}"', message, "add care to such rules, or remove it", home=at
        )
        return


def _answers(worlds: Worlds, findings: Findings) -> None:
    """Rules that would hear of each task that waits for its advisor, though they are about who takes a client."""
    rule_set, trigger = worlds.rule_set, on("assignment_answers")
    pools = rule_set.assignment.pools if rule_set.assignment is not None else ()
    numbers = [one.open_tasks for one in rule_set.advisors] + [one.open_tasks for one in pools]
    if not any(numbers) or not any(takes_room(rule) for rule in rule_set.rules):
        return  # such answers never come
    of_room, of_clients = (parse(text, worlds.scope(trigger)) for text in (_OF_ROOM, _OF_CLIENTS))
    assert isinstance(of_room, Expression)
    assert isinstance(of_clients, Expression)
    for rule in rule_set.rules:
        home = findings.places.rules.get(rule.id)
        if trigger not in rule.triggers or home is None:
            continue
        world = worlds.of(trigger, rule)
        means = any(
            isinstance(node, ast.Constant) and node.value in ("room", "away") for node in ast.walk(rule.when.tree)
        )
        hears = [not impossible(world, (rule.when.tree, True), (of.tree, True)) for of in (of_room, of_clients)]
        if all(hears) and not means:
            message = "hears of each task that has waited for its advisor, too: of outcome room or away"
            remedy = 'ask the outcome, such as assignment_answer.outcome in ("assigned", "moved")'
            findings.add("L314", home.key("when") or home, f'rule "{rule.id}"', message, remedy, home=home)


def _unused(rule_set: RuleSet, findings: Findings) -> None:
    """What no rule, tier, segment or score needs, be it through other declarations."""
    declared = rule_set.declared
    needs = {definition.name: _named(definition.expression) for definition in declared.definitions}
    needs |= {table.name: {*table.inputs} for table in declared.tables}
    pending = _named(
        (
            rule_set.rules,
            rule_set.journeys,
            rule_set.tiers,
            rule_set.score,
            rule_set.portrait,
            rule_set.policy.suitability,
            rule_set.policy.answers,
            rule_set.policy.classes,
            rule_set.assignment,
        )
    )
    used: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending |= needs.get(name, set())
    for kind, key, found in (
        ("feature", "features", [feature.name for feature in rule_set.features]),
        ("definition", "define", [definition.name for definition in declared.definitions]),
        ("list", "lists", list(declared.lists)),
        ("table", "tables", [table.name for table in declared.tables]),
    ):
        for name in found:
            at = findings.places.declared[key].get(name)
            if name not in used and at is not None:
                cost = ": it costs memory in every client's state" if kind == "feature" else ""
                findings.add("L306", at, f'{kind} "{name}"', "nothing uses it", f"use it, or remove it{cost}", home=at)


def _unknown_rules(rule_set: RuleSet, findings: Findings) -> None:
    """Rules that features of actions name: a renamed one acts under its new id."""
    known = {rule.id for rule in rule_set.rules}
    for feature in rule_set.features:
        filters: list[tuple[str, Expression | None, tuple[str, ...]]] = [(feature.source, feature.where, ("where",))]
        if isinstance(feature.window, Since):
            filters.append((feature.window.on, feature.window.when, ("since", "when")))
        home = findings.places.declared["features"].get(feature.name)
        for source, filter_, key in filters:
            if source != ACTIONS.name or filter_ is None or home is None:
                continue
            at = findings.places.roots[home.file].key("features", feature.name, *key) or home
            for rule_id in sorted(_compared(filter_.tree, "action.rule_id") - known):
                now = rule_set.was_rules.get(rule_id) or next(iter(difflib.get_close_matches(rule_id, known, 1)), None)
                remedy = f'did you mean "{now}"?' if now else "name a rule that there is"
                findings.add(
                    "L309", at, f'feature "{feature.name}"', f'there is no rule "{rule_id}"', remedy, home=home
                )


def _compared(tree: ast.expr, name: str) -> set[str]:
    """The texts that a name is compared with."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Name) and side.id == name for side in sides):
                parts = [part for side in sides for part in (side.elts if isinstance(side, ast.Set) else [side])]
                found |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
    return found


def _named(value: Any) -> set[str]:
    """The names that the expressions in it use. A word of a rule may be a table's name too."""
    if isinstance(value, Expression):
        return {*value.names, *value.lists}
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return _named(tuple(value.values()))
    if isinstance(value, tuple):
        return {name for item in value for name in _named(item)}
    if is_dataclass(value):
        return {name for field in fields(value) for name in _named(getattr(value, field.name))}
    return set()


def _rows(worlds: Worlds, findings: Findings) -> None:
    for table in worlds.rule_set.tables:
        home = findings.places.declared["tables"].get(table.name)
        if home is None or table.hit != "first":
            continue
        for row in unreachable(table, worlds.scope(trigger_about(table.on, worlds.rule_set.kinds))):
            subject, remedy = f'table "{table.name}"', "remove it, or move it up"
            if row == len(table.rows):
                at = findings.places.roots[home.file].key("tables", table.name, "otherwise") or home
                message = "no case is left for otherwise: the rows match them all"
                findings.add("L401", at, subject, message, "remove it, so that a gap is reported one day", home=home)
            else:
                message = f"no case reaches the row at {table.rows[row].place}: those above it match them all"
                findings.add("L401", home, subject, message, remedy, home=home)
