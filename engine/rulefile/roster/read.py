"""Reads advisors.yaml, advisors.csv and assignment.yaml: who takes clients, and by what.

Enters: the files' root nodes, the sheet, the names that conditions can use. Leaves: Advisors by name, an Assignment.
Holds: an advisor is of a pool that there is, a pool's team is one of teams.yaml where there is one; a step of
the wait lies before its end.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Collection, Sequence
from typing import Final, get_args

from engine.core.assign.roster import ASSIGNMENT_FILE, Advisor, Assignment, Leave, Pool, Widening
from engine.core.contract.events import Region
from engine.core.contract.granting import MAX_CAPACITY, MAX_OPEN_TASKS
from engine.core.language.expressions import BOOL, Scope, number
from engine.rulefile.source.csv_file import Sheet, where
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar
from engine.rulefile.source.fields import DAY_S, IDENTIFIER, TIER, Reader, nearest

ADVISOR: Final = ("[A-Za-z0-9][A-Za-z0-9._-]*", "the id that other systems know the advisor by, such as adv-7")
LANGUAGE: Final = ("[a-z]{2,3}", "a language without its region, such as zh or en")
LEAVE_COLUMNS: Final = {"leave_from": "from", "leave_until": "until", "stand_in": "stand_in"}
COLUMNS: Final = (
    *("advisor", "pool", "capacity", "regions", "languages", "tiers", "skills", "licence_until", "last_day"),
    *("not_for", "open_tasks"),
    *LEAVE_COLUMNS,
)
QUOTED: Final = '"'  # no part of a cell is what YAML takes for true or for nothing
PART: Final = re.compile(r"[^\s|]+")
ADVISOR_KEYS: Final = (
    "regions",
    "languages",
    "tiers",
    "skills",
    "licence_until",
    "leave",
    "last_day",
    "not_for",
    "open_tasks",
)
CLIENT: Final = ("[!-~]+", "a client's id")
MAX_NOT_FOR: Final = 1_000
POOL_KEYS: Final = ("needs", "widen", "give_up", "accept", "conflict", "open_tasks")
REGIONS: Final[tuple[str, ...]] = get_args(Region)
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MAX_ADVISORS: Final = 20_000
MAX_POOLS: Final = 500
MAX_LEVEL: Final = 9
MAX_WEIGHT: Final = 1_000
LONGEST_WAIT_S: Final = 31 * DAY_S
Entry = tuple[Reader, Scalar, Node]  # who reports faults; an advisor, and what is said of it


def read_assignment(reader: Reader, root: Node, scope: Scope) -> Assignment:
    """`scope` has what is known of the client, and what is declared."""
    given = reader.mapping(root, ("assignment",), ("tests",)).get("assignment")
    fields = reader.mapping(given, ("pools",), ("weights",))
    entries = reader.entries(fields.get("pools"))
    if "pools" in fields and not entries:
        reader.problem(fields["pools"], "no pools", "declare at least one, or remove the file")
    if len(entries) > MAX_POOLS:
        reader.problem(entries[MAX_POOLS][0], f"{len(entries)} pools", f"declare at most {MAX_POOLS}")
    tiers = scope["client.tier"].type.values
    weights = []
    for key, node in reader.entries(fields.get("weights")):
        tier = reader.word(key, TIER)
        if tiers is not None and tier not in tiers:
            reader.problem(key, f'no tier "{tier}"', nearest(tier, sorted(tiers)))
        weights.append((tier, reader.integer(node, 1, MAX_WEIGHT)))
    return Assignment(tuple(_pool(reader, key, node, scope) for key, node in entries), tuple(weights))


def _pool(reader: Reader, key: Scalar, node: Node, scope: Scope) -> Pool:
    fields = reader.mapping(node, ("when", "team"), POOL_KEYS)
    widen = tuple(_widening(reader, item) for item in (reader.items(fields["widen"]) if "widen" in fields else ()))
    give_up_s = reader.duration(fields["give_up"], "mhd", 0, LONGEST_WAIT_S) if "give_up" in fields else 0
    for before, after in itertools.pairwise(widen):
        if after.waited_s <= before.waited_s or after.by <= before.by:
            reader.problem(fields["widen"], "steps that are not later and wider each", "write them in order")
            break
    if widen and widen[-1].waited_s >= give_up_s:
        reader.problem(fields["widen"], "a step at or after the end of the wait", "let give_up be later than each step")
    needs = tuple(
        (reader.word(skill, IDENTIFIER), reader.expression(level, scope, number()))
        for skill, level in reader.entries(fields.get("needs"))
    )
    when = reader.expression(fields.get("when"), scope, BOOL)
    accept_s = reader.duration(fields["accept"], "mhd", 60, LONGEST_WAIT_S) if "accept" in fields else 0
    team = reader.owner(fields.get("team"))
    conflict = reader.expression(fields["conflict"], scope, BOOL) if "conflict" in fields else None
    return Pool(
        reader.word(key, IDENTIFIER),
        when,
        team,
        needs,
        widen,
        give_up_s,
        accept_s,
        conflict,
        _open_tasks(reader, fields),
    )


def _open_tasks(reader: Reader, fields: dict[str, Node]) -> int | None:
    return reader.integer(fields["open_tasks"], 1, MAX_OPEN_TASKS) if "open_tasks" in fields else None


def _widening(reader: Reader, node: Node) -> Widening:
    fields = reader.mapping(node, ("after", "by"))
    waited_s = reader.duration(fields.get("after"), "mhd", 60, LONGEST_WAIT_S)
    return Widening(waited_s, reader.integer(fields.get("by"), 1, MAX_LEVEL))


def in_yaml(reader: Reader, root: Node) -> list[Entry]:
    """What advisors.yaml says of each."""
    given, faults = reader.mapping(root, ("advisors",)).get("advisors"), reader.faults
    entries = reader.entries(given)
    if given is not None and not entries and reader.faults == faults:
        reader.problem(given, "no advisors", "declare at least one, or remove the file")
    return [(reader, key, node) for key, node in entries]


def in_sheet(sheet: Sheet | None) -> list[Entry]:
    """What advisors.csv says of each, as advisors.yaml would: a row is a mapping, an empty cell says nothing."""
    if sheet is None:
        return []
    reader, columns = sheet.reader, [cell.value for cell in sheet.header]
    faults = reader.faults
    for cell in sheet.header:
        if cell.value not in COLUMNS:
            reader.wrong(cell, f'unknown column "{cell.value[:40]}"', nearest(cell.value, COLUMNS))
    for name in ("advisor", "pool", "capacity"):
        if name not in columns:
            reader.problem(sheet.header[-1], f"no column {name}", "add it: each advisor has one")
    if reader.faults != faults:
        return []
    entries: list[Entry] = []
    for row in sheet.rows:
        cells = dict(zip(columns, row, strict=True))
        said = {name: (cell, _in_cell(reader, name, cell)) for name, cell in cells.items() if cell.value}
        said.pop("advisor", None)
        leave = {key: said.pop(name) for name, key in LEAVE_COLUMNS.items() if name in said}
        if leave:
            at = next(iter(leave.values()))[0]
            if not {"from", "until"} <= leave.keys():
                reader.problem(at, "a leave without its first or its last day", "write leave_from and leave_until")
                continue
            said["leave"] = at, Listing(at.index, [Mapping(at.index, leave)])
        entries.append((reader, cells["advisor"], Mapping(row[0].index, said)))
    return entries


def _in_cell(reader: Reader, name: str, cell: Scalar) -> Node:
    """What advisors.yaml has a list or a mapping for."""
    if name not in ("regions", "languages", "tiers", "skills", "not_for"):
        return cell
    parts = [
        Scalar(cell.index + found.start(), cell.index + found.end(), found[0], QUOTED)
        for found in PART.finditer(cell.value)
    ]
    if name != "skills":
        return Listing(cell.index, list(parts))
    skills = Mapping(cell.index)
    for part in parts:
        skill, between, level = part.value.partition(":")
        if not between or skill in skills.entries:
            said = f'skill "{skill[:40]}" twice' if between else f'no level in "{part.value[:40]}"'
            reader.problem(part, said, "write each skill once with its level, such as funds:3 | tax:1")
            continue
        start = part.index + len(skill) + 1
        skills.entries[skill] = Scalar(part.index, start - 1, skill, ""), Scalar(start, part.end, level, "")
    return skills


def read_advisors(
    entries: Sequence[Entry], pools: Collection[str] | None, tiers: Collection[str]
) -> tuple[Advisor, ...]:
    """By name. `pools`: None where it is not known which there are."""
    if pools == [] and entries:
        reader, key, _ = entries[0]
        reader.problem(key, f"advisors, and no {ASSIGNMENT_FILE}", "add it: it declares their pools")
        pools = None
    if len(entries) > MAX_ADVISORS:
        reader, key, _ = entries[MAX_ADVISORS]
        reader.problem(key, f"{len(entries)} advisors", f"declare at most {MAX_ADVISORS}")
    found, placed = [], dict[str, str]()
    for reader, key, node in entries:
        one = _advisor(reader, key, node, None if pools is None else tuple(sorted(pools)), tuple(sorted(tiers)))
        if one.name and one.name in placed:
            reader.problem(key, f'advisor "{one.name}" twice', f"first at {placed[one.name]}; keep one of them")
        placed.setdefault(one.name, where(reader, key))
        found.append(one)
    pool_of = {one.name: one.pool for one in found}
    for one, (reader, _, node) in zip(found, entries, strict=True):
        for leave in one.leave:
            if leave.stand_in is not None and (leave.stand_in == one.name or pool_of.get(leave.stand_in) != one.pool):
                remedy = "name somebody else of the pool"
                reader.problem(node, f'"{leave.stand_in}" cannot stand in for {one.name}', remedy)
    return tuple(sorted(found, key=lambda one: one.name))


def _advisor(reader: Reader, key: Scalar, node: Node, pools: tuple[str, ...] | None, tiers: tuple[str, ...]) -> Advisor:
    fields = reader.mapping(node, ("pool", "capacity"), ADVISOR_KEYS)

    def words(name: str) -> tuple[str, ...]:
        return tuple(reader.word(item, LANGUAGE) for item in reader.items(fields[name])) if name in fields else ()

    return Advisor(
        name=reader.word(key, ADVISOR),
        pool=reader.word(fields.get("pool"), IDENTIFIER) if pools is None else reader.choice(fields.get("pool"), pools),
        capacity=reader.integer(fields.get("capacity"), 0, MAX_CAPACITY),
        regions=reader.choices(fields["regions"], REGIONS) if "regions" in fields else (),
        languages=words("languages"),
        tiers=reader.choices(fields["tiers"], tiers) if "tiers" in fields else (),
        skills=tuple(
            (reader.word(skill, IDENTIFIER), reader.integer(level, 1, MAX_LEVEL))
            for skill, level in reader.entries(fields.get("skills"))
        ),
        licence_until=a_day(reader, fields["licence_until"]) if "licence_until" in fields else None,
        leave=_leaves(reader, fields["leave"]) if "leave" in fields else (),
        last_day=a_day(reader, fields["last_day"]) if "last_day" in fields else None,
        not_for=_not_for(reader, fields["not_for"]) if "not_for" in fields else (),
        open_tasks=_open_tasks(reader, fields),
    )


def _not_for(reader: Reader, node: Node) -> tuple[str, ...]:
    items = reader.items(node)
    if len(items) > MAX_NOT_FOR:
        reader.problem(items[MAX_NOT_FOR], f"{len(items)} clients", f"name at most {MAX_NOT_FOR:,} of one advisor")
    return tuple(sorted({reader.word(item, CLIENT) for item in items}))


def _leaves(reader: Reader, node: Node) -> tuple[Leave, ...]:
    """One after the other."""
    leaves: list[Leave] = []
    for item in reader.items(node):
        fields = reader.mapping(item, ("from", "until"), ("stand_in",))
        first, last = (a_day(reader, fields[key]) if key in fields else None for key in ("from", "until"))
        stand_in = reader.word(fields["stand_in"], ADVISOR) if "stand_in" in fields else None
        if first is None or last is None:
            continue
        if last < first or (leaves and first <= leaves[-1].last):
            reader.problem(item, "a leave that ends before it begins, or begins within the one before", "mend its days")
        leaves.append(Leave(first, last, stand_in))
    return tuple(leaves)


def a_day(reader: Reader, node: Node) -> str | None:
    """As 2027-06-30."""
    scalar = reader.scalar(node)
    if scalar is None:
        return None
    try:
        if DAY.fullmatch(scalar.value):
            return dt.date.fromisoformat(scalar.value).isoformat()
    except ValueError:
        pass
    reader.wrong(scalar, f'not a day: "{scalar.value[:40]}"', "write it as 2027-06-30")
    return None
