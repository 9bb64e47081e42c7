"""Rule files to a rule set.

Enters: the texts of a directory's files by name. Leaves: a RuleSet, or every Problem of every file.
Holds: a RuleSet leaves only if there is no problem at all; the same texts give the same RuleSet, in whatever order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from engine.core.assign.roster import ADVISORS_FILE, ADVISORS_SHEET, ASSIGNMENT_FILE, Advisor, Assignment
from engine.core.language.expressions import Scope
from engine.core.rules.business_days import CALENDAR_FILE, answered_by
from engine.core.rules.day_lists import inferred
from engine.core.rules.event_types import EventType, kinds_of
from engine.core.rules.names import Scopes, rule_scope
from engine.core.rules.occasion import ITEM_KINDS, Trigger, Unanswered, trigger_about
from engine.core.rules.policy import PAUSES_FILE, POLICY_FILE, ContactPolicy
from engine.core.rules.ruleset import Rule, RuleSet, Segment, Tiers, Trait
from engine.core.rules.score import SCORE_FILE, ScorePart, definitions_of
from engine.core.rules.tables import NOTHING
from engine.core.teams import TEAMS_FILE, Team
from engine.core.text import INVISIBLE, visible
from engine.rulefile.read.declarations import (
    read_features,
    read_portrait,
    read_score,
    read_tiers,
    stage_ids,
)
from engine.rulefile.read.definitions import read_calendar, read_definitions, read_teams
from engine.rulefile.read.event_types import EVENTS_FILE, is_rules_of_old, read_event_types
from engine.rulefile.read.journeys import FOLDER, MAX_JOURNEYS, read_journeys
from engine.rulefile.read.pauses import Pauses, of_rules, pauses_in, read_pauses, without_pauses
from engine.rulefile.read.policy import check_names, read_policy
from engine.rulefile.read.rules import read_rules
from engine.rulefile.read.tables import products_file, read_answers, read_not_while, read_suitability
from engine.rulefile.roster.budgets import check_costs
from engine.rulefile.roster.cases import read_pool_tests
from engine.rulefile.roster.read import in_sheet, in_yaml, read_advisors, read_assignment
from engine.rulefile.source.characters import MAX_BYTES
from engine.rulefile.source.csv_file import SUFFIX, Sheets
from engine.rulefile.source.document import Node, Scalar, place, read_document
from engine.rulefile.source.fields import Reader, nearest
from engine.rulefile.source.problem import Problem
from engine.rulefile.source.unsure import TIERS_DECLARE, Unsure

FEATURES: Final = "features.yaml"
TIERS: Final = "tiers.yaml"
MAX_ALL: Final = 7_998_000  # bytes of all files as the rule-set topic holds them, in one record
DEFINITIONS: Final = "definitions.yaml"
DEFINING: Final = re.compile(r"definitions(-.+)?\.yaml")  # one for all, and one for each department that wants its own
PORTRAIT: Final = "portrait.yaml"


class DirectoryError(Exception):
    """The path is not a directory of rule files; the text says why, with a remedy."""


def read_directory(path: str | Path) -> dict[str, str]:
    """The texts of all *.yaml and *.csv files of a directory that are not hidden, and of *.yaml in its folder
    `journeys`, by file name, sorted.
    """
    directory = Path(path)
    try:
        if not directory.is_dir():
            raise DirectoryError(f"{directory}: no such directory; give the directory that holds the rule files")
        files = {}
        for file in sorted(directory.iterdir()):
            hidden = file.name.startswith(".")  # as editors hide theirs
            if file.suffix.lower() in (".yaml", ".yml", SUFFIX) and not hidden:
                files.update(_read(file))
        for file in sorted(directory.glob(f"{FOLDER}[!.]*")):
            if file.suffix.lower() in (".yaml", ".yml"):
                files.update((FOLDER + name, text) for name, text in _read(file).items())
    except OSError as error:
        name, remedy = Path(error.filename or directory), "make it readable"
        if os.path.islink(name):
            remedy = f"it is a link to {os.readlink(name)}; remove it, or let it lead to a file"
        raise DirectoryError(f"{name}: {error.strerror}; {remedy}") from error
    if not any(name.endswith(".yaml") for name in files):
        raise DirectoryError(f"{directory}: no *.yaml file in it; give the directory that holds the rule files")
    return files


def _read(file: Path) -> dict[str, str]:
    suffix = SUFFIX if file.suffix.lower() == SUFFIX else ".yaml"
    if file.suffix != suffix:  # a file that is passed over in silence would be missed
        raise DirectoryError(f"{file}: rule files end in .yaml or .csv; name it {file.stem}{suffix}, or remove it")
    if not file.name.isprintable():
        raise DirectoryError(f"{file.parent}: {file.name!a} is not valid UTF-8; rename it, or remove it")
    if file.exists() and not file.is_file():
        raise DirectoryError(f"{file}: not a file; remove it")
    with file.open("rb") as stream:
        # One byte beyond the bound is enough to refuse it; bytes that are not UTF-8 are refused at their place.
        return {file.name: stream.read(MAX_BYTES + 1).decode("utf-8-sig", errors="surrogateescape")}


def digest(files: Mapping[str, str]) -> str:
    """Names the exact source texts: sha256 over names and texts, each with its length before it."""
    state = hashlib.sha256()
    for pair in sorted(files.items()):
        for part in pair:
            data = part.encode(errors="surrogateescape")
            state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()


def repaused(rule_set: RuleSet, files: Mapping[str, str]) -> RuleSet | None:
    """The rule set of these files, if they differ from its own in their pauses alone: it need not be read anew."""
    if without_pauses(files) != without_pauses(dict(rule_set.files)):
        return None
    paused, resumed = of_rules(pauses_in(files.get(PAUSES_FILE, "")), rule_set.rules)
    whole = tuple(sorted(files.items()))
    return replace(rule_set, digest=digest(files), files=whole, paused=paused, resumed=resumed)


def load(
    files: Mapping[str, str], documents: dict[str, Node] | None = None, *, published: bool = False
) -> RuleSet | tuple[Problem, ...]:
    """The rule set of these files (name to text), or all that is wrong with them, by file and line. A set that was
    `published` is read as it was then: what later versions refuse of texts does not stop their workers.

    `documents` takes up the files' trees, for whoever needs them next: reading them takes most of the time.
    """
    size = len(json.dumps(dict(files), ensure_ascii=False).encode(errors="surrogatepass"))
    if size > MAX_ALL:
        message = f"{size:,} bytes in all files, as one record of the rule-set topic"
        return (Problem(min(files), 1, 1, None, message, f"stay within {MAX_ALL:,} together"),)
    problems: list[Problem] = []
    roots: dict[str, Node] = {}
    unsure = Unsure(published)
    for name, text in sorted(files.items()):
        if name.endswith(SUFFIX):
            continue
        root, found = read_document(name, text, published=published)
        problems += found
        unsure.any_name |= bool(found) and (name == FEATURES or DEFINING.fullmatch(name) is not None)
        if root is not None:
            roots[name] = root
    if documents is not None:
        documents |= roots
    faulty = {problem.file for problem in problems}
    unclean = {name for name in faulty if INVISIBLE.search(files[name].replace("\r\n", "\n"))}
    readers = {  # of a file with such faults nothing else is reported: it would follow from them
        name: Reader(name, visible(files[name]), unsure, [])
        if name in unclean
        else Reader(name, files[name], unsure, problems)
        for name in roots
    }
    for name in (FEATURES, TIERS, POLICY_FILE):
        if name not in files:
            problems.append(
                Problem(name, 1, 1, None, "missing file", "add it; a rule set needs all three: features, tiers, policy")
            )

    teams: tuple[Team, ...] = ()
    teamed = TEAMS_FILE in roots and not (published and is_rules_of_old(roots[TEAMS_FILE], "teams"))
    if teamed:
        teams = read_teams(readers[TEAMS_FILE], roots[TEAMS_FILE])
        sound = not any(problem.file == TEAMS_FILE for problem in problems)
        for reader in readers.values():
            reader.owners = tuple(team.name for team in teams) if sound else ()
    types: tuple[EventType, ...] = ()
    of_old = published and is_rules_of_old(roots.get(EVENTS_FILE))
    if EVENTS_FILE in roots and not of_old:
        types = read_event_types(readers[EVENTS_FILE], roots[EVENTS_FILE])
    if any(problem.file == EVENTS_FILE for problem in problems):
        return tuple(unsure.folded(problems))  # nearly everything else asks for what it declares
    kinds = kinds_of(types)
    calendar = None
    calendar_of_old = published and is_rules_of_old(roots.get(CALENDAR_FILE), "calendar")
    if CALENDAR_FILE in roots and not calendar_of_old:
        calendar = read_calendar(readers[CALENDAR_FILE], roots[CALENDAR_FILE])
    faulty_calendar = any(problem.file == CALENDAR_FILE for problem in problems)
    for reader in readers.values():
        reader.kinds = kinds
        reader.answers = frozenset() if reader.file == FEATURES else answered_by(calendar, faulty_calendar)
    features = read_features(readers[FEATURES], roots[FEATURES]) if FEATURES in roots else ()
    unsure.any_name |= FEATURES not in files
    scored = SCORE_FILE in roots and not (published and is_rules_of_old(roots[SCORE_FILE], "score"))
    tiers = Tiers({}, (), None)
    if TIERS in roots:
        tiers = read_tiers(readers[TIERS], roots[TIERS], features, scored=scored)
    if any(problem.file == TIERS for problem in problems):
        unsure.values = TIERS_DECLARE
    policy = read_policy(readers[POLICY_FILE], roots[POLICY_FILE]) if POLICY_FILE in roots else ContactPolicy()
    sheets = Sheets(files, unsure, problems)
    portrayed = PORTRAIT in roots and not (published and is_rules_of_old(roots[PORTRAIT], "portrait"))
    stages = stage_ids(roots[PORTRAIT]) if portrayed else ()
    declared = NOTHING
    segments = tuple(segment.id for segment in tiers.segments)
    defining = [name for name in roots if DEFINING.fullmatch(name) and not _of_old(published, name, roots[name])]
    if defining:

        @cache
        def known_on(topic: str | None) -> Scope:
            about = trigger_about(topic, kinds)
            return rule_scope(about, features, tiers.names, segments, kinds=kinds, stages=stages)

        for name in sorted(defining, key=lambda name: (name != DEFINITIONS, name)):
            declared = read_definitions(readers[name], roots[name], known_on, sheets, declared)
    told = products_file(roots.get(POLICY_FILE))
    listed = {told, *sheets.read}  # a set that was published may have a list of this name
    in_rows = ADVISORS_SHEET in files and not (published and ADVISORS_SHEET in listed)
    lists = [name for name in sheets.names if name != told and not (in_rows and name == ADVISORS_SHEET)]
    if not any(map(DEFINING.fullmatch, files)) and lists:
        unsure.any_name = True
        remedy = f"add it: it says what {', '.join(lists)} holds, or remove what it says nothing of"
        problems.append(Problem(DEFINITIONS, 1, 1, None, "missing file", remedy))
    score: tuple[ScorePart, ...] = ()
    if scored:
        known = rule_scope(None, features, tiers.names, segments, declared=declared, kinds=kinds)
        score = read_score(readers[SCORE_FILE], roots[SCORE_FILE], known)
        for part in score:
            if part.declared_as in known:
                readers[SCORE_FILE].problem(roots[SCORE_FILE], *_taken(part.declared_as))
        declared = replace(declared, definitions=(*declared.definitions, *definitions_of(score)))

    def scope_of(trigger: Trigger | None) -> Scope:
        return rule_scope(trigger, features, tiers.names, segments, declared=declared, kinds=kinds, stages=stages)

    scopes = Scopes(scope_of)
    if POLICY_FILE in roots:
        suits = read_suitability(readers[POLICY_FILE], roots[POLICY_FILE], scopes[None], sheets, declared)
        answers = read_answers(readers[POLICY_FILE], roots[POLICY_FILE], scopes[None])
        classes = read_not_while(readers[POLICY_FILE], roots[POLICY_FILE], policy.classes, scopes[None])
        policy = replace(policy, suitability=suits, answers=answers, classes=classes)
    life: tuple[Segment, ...] = ()
    traits: tuple[Trait, ...] = ()
    if portrayed:
        life, traits = read_portrait(readers[PORTRAIT], roots[PORTRAIT], scopes[None])
    assigns, rostered = (
        name in roots and not (published and is_rules_of_old(roots[name], key))
        for name, key in ((ASSIGNMENT_FILE, "assignment"), (ADVISORS_FILE, "advisors"))
    )
    assignment: Assignment | None = None
    advisors: tuple[Advisor, ...] = ()
    if assigns:
        assignment = read_assignment(readers[ASSIGNMENT_FILE], roots[ASSIGNMENT_FILE], scopes[None])
    if rostered or in_rows:
        declared_pools = [pool.name for pool in assignment.pools] if assignment is not None else []
        pools = declared_pools or (None if ASSIGNMENT_FILE in files else [])
        entries = in_yaml(readers[ADVISORS_FILE], roots[ADVISORS_FILE]) if rostered else []
        entries += in_sheet(sheets.named(ADVISORS_SHEET)) if in_rows else []
        advisors = read_advisors(entries, pools, tiers.names)
    if assignment is not None:
        read_pool_tests(readers[ASSIGNMENT_FILE], roots[ASSIGNMENT_FILE], assignment, advisors, tiers.names)
    pauses: Pauses = ((), ())
    pausing = PAUSES_FILE in roots and not (published and is_rules_of_old(roots[PAUSES_FILE], "paused"))
    if pausing:
        pauses = read_pauses(readers[PAUSES_FILE], roots[PAUSES_FILE])
    used = {EVENTS_FILE: not of_old, CALENDAR_FILE: not calendar_of_old, SCORE_FILE: scored, PORTRAIT: portrayed}
    used |= {PAUSES_FILE: pausing, TEAMS_FILE: teamed, ASSIGNMENT_FILE: assigns, ADVISORS_FILE: rostered}
    own = (name for name, is_used in used.items() if is_used)
    others = (FEATURES, TIERS, POLICY_FILE, *defining, *own)
    led = {
        name: read_journeys(readers[name], roots[name], scopes, tiers, policy)
        for name in roots
        if name.startswith(FOLDER)
    }
    placed = {
        name: read_rules(readers[name], roots[name], scopes, tiers, policy)
        for name in roots
        if name not in (*others, *led)
    }
    placed |= {name: [rule for one in found for rule in one.rules] for name, found in led.items()}
    journeys = tuple(sorted((one.journey for found in led.values() for one in found), key=lambda one: one.id))
    if len(journeys) > MAX_JOURNEYS:
        remedy = f"stay within {MAX_JOURNEYS}: a client remembers where it stood in each"
        problems.append(Problem(max(led), 1, 1, None, f"{len(journeys)} journeys", remedy))
    rules = _distinct(placed, readers)
    if POLICY_FILE in roots and not problems:  # else the names may be those of rules with faults
        check_names(readers[POLICY_FILE], roots[POLICY_FILE], rules, [one.name for one in policy.classes])
        check_costs(readers[POLICY_FILE], roots[POLICY_FILE], RuleSet("", (), (), tiers, policy, tuple(rules)))
    if not unsure.alike and not any(DEFINING.fullmatch(problem.file) for problem in problems):
        sheets.tell_unused()
    if problems:
        return tuple(unsure.folded(problems))
    paused, resumed = of_rules(pauses, rules)
    asking = (tuple(rules), journeys, features, tiers, declared.definitions, life, traits)
    return RuleSet(
        digest=digest(files),
        files=tuple(sorted(files.items())),
        features=features,
        tiers=tiers,
        policy=policy,
        rules=tuple(sorted(rules, key=lambda rule: (-rule.priority, rule.id))),
        lists=declared.lists,
        tables=declared.tables,
        definitions=declared.definitions,
        last_days={
            **inferred(asking, declared.lists),
            **declared.last_days,
            **({CALENDAR_FILE: calendar.last_day} if calendar else {}),
        },
        event_types=types,
        calendar=calendar,
        score=score,
        stages=life,
        traits=traits,
        paused=paused,
        resumed=resumed,
        teams=teams,
        assignment=assignment,
        advisors=advisors,
        journeys=journeys,
    )


def _of_old(published: bool, name: str, root: Node) -> bool:
    """Whether a set that was published had rules in a file of this name."""
    return published and name != DEFINITIONS and is_rules_of_old(root, "define")


def _taken(name: str) -> tuple[str, str]:
    return f'"{name}" is declared already', "give that another name: it is a part of the score"


def _distinct(placed: dict[str, list[tuple[Scalar | None, Rule]]], readers: dict[str, Reader]) -> list[Rule]:
    first: dict[str, str] = {}
    rules = []
    for name, entries in placed.items():
        reader = readers[name]
        for node, rule in entries:
            rules.append(rule)
            if node is None or not rule.id:
                continue
            if rule.id in first:
                reader.problem(
                    node, f'duplicate rule id "{rule.id}"', f"first used at {first[rule.id]}; choose another"
                )
            else:
                line, column = place(reader.text, node.index)
                first[rule.id] = f"{name}:{line}:{column}"
    kinds = {rule.id: rule.kind for rule in rules}
    claimed: dict[str, str] = {}
    for name, entries in placed.items():
        for node, rule in entries:
            if node is not None and isinstance(rule.occasion, Unanswered):
                _answerable(readers[name], node, rule.occasion.of, kinds)
            if node is not None:
                readers[name].claim(node, rule.id, rule.was, first, claimed)
    return rules


def _answerable(reader: Reader, node: Scalar, of: str, kinds: dict[str, str]) -> None:
    """`of` is a kind of item, or a rule whose actions are one."""
    if of in ITEM_KINDS or kinds.get(of) in ITEM_KINDS or not of:
        return
    if of in kinds:
        reader.problem(node, f'nobody answers a {kinds[of]}, as "{of}" sends', "wait for a receipt, with a sequence")
    else:
        reader.problem(node, f'unanswered of no rule: "{of}"', nearest(of, (*ITEM_KINDS, *kinds)))
