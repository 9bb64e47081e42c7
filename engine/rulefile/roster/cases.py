"""Tests of assignment.yaml: what advisors have, who asks, who is to take the client, and what keeps the others.

Enters: the file's root node, the pools and advisors declared. Leaves: tests; of each, what was not as expected.
Holds: a test is decided by the same `ask` as a worker would, in a pool that has what the test says and nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from engine.core.assign.choice import ask, candidates, pass_time
from engine.core.assign.roster import Advisor, Assignment, Roster
from engine.core.assign.staff import LEAVE, PLAIN, hear
from engine.core.assign.state import Entry, PoolState, Waiting
from engine.core.contract.granting import MAX_CAPACITY, MAX_OPEN_TASKS
from engine.core.firm_time import day_number, day_start_ms
from engine.rulefile.roster.read import CLIENT as CLIENT_ID
from engine.rulefile.roster.read import LANGUAGE, MAX_LEVEL, REGIONS, a_day
from engine.rulefile.source.document import Mapping, Node, place
from engine.rulefile.source.fields import DAY_S, IDENTIFIER, Reader

NO_CAPACITY: Final = "no_capacity"
WAITS: Final = "waits"
REASONS: Final = ("absent", "capacity", "conflict", "language", "leave", "left", "licence", "region", "skills", "tier")
KEYS: Final = ("client", "needs", "loads", "has", "conflict", "said", "waited", "on", "because")
SAID_KEYS: Final = (*PLAIN, "leave_from", "leave_until", "stand_in")
CLIENT_KEYS: Final = ("id", "tier", "region", "language")
DAY: Final = "2026-06-01"  # unless the test says another
HOUR_MS: Final = 3_600_000
CLIENT: Final = "client"


@dataclass(frozen=True, slots=True)
class PoolTest:
    rule: str  # the pool
    name: str
    file: str
    line: int
    column: int
    expected: str  # an advisor, NO_CAPACITY or WAITS
    because: tuple[tuple[str, str], ...]  # advisor -> what keeps it
    loads: tuple[tuple[str, int], ...]
    has: str | None  # who has the client already
    said: tuple[tuple[str, dict[str, Any]], ...]  # advisor -> what the topic advisors said, as pools keep it
    asked: Waiting
    at_ms: int


def read_pool_tests(
    reader: Reader, root: Node, assignment: Assignment, advisors: Iterable[Advisor], tiers: tuple[str, ...]
) -> tuple[PoolTest, ...]:
    """Those without a fault; the faults of the others are with the reader."""
    node = root.entries["tests"][1] if isinstance(root, Mapping) and "tests" in root.entries else None
    tests = []
    for item in reader.items(node) if node is not None else ():
        before = len(reader.problems)
        test = _test(reader, item, assignment, tuple(advisors), tiers)
        if len(reader.problems) == before:
            tests.append(test)
    return tuple(tests)


def _test(
    reader: Reader, node: Node, assignment: Assignment, advisors: tuple[Advisor, ...], tiers: tuple[str, ...]
) -> PoolTest:
    fields = reader.mapping(node, ("name", "pool", "expect"), KEYS)
    pool = reader.choice(fields.get("pool"), tuple(sorted(pool.name for pool in assignment.pools)))
    names = tuple(sorted(one.name for one in advisors if one.pool == pool))
    client = reader.mapping(fields["client"], (), CLIENT_KEYS) if "client" in fields else {}
    waited_ms = reader.duration(fields["waited"], "mhd", 60, 31 * DAY_S) * 1000 if "waited" in fields else 0
    day = (a_day(reader, fields["on"]) if "on" in fields else None) or DAY
    at_ms = day_start_ms(day_number(dt.date.fromisoformat(day))) + 10 * HOUR_MS
    line, column = place(reader.text, node.index)

    def named(key: str) -> list[tuple[str, Node]]:
        entries = reader.entries(fields[key]) if key in fields else []
        return [(reader.choice(name, names), value) for name, value in entries]

    has = reader.choice(fields["has"], names) if "has" in fields else None
    barred = "conflict" in fields and reader.choice(fields["conflict"], ("true", "false")) == "true"
    asked = Waiting(
        priority=50,
        asked_ms=at_ms - waited_ms,
        request="request",
        client=reader.word(client["id"], CLIENT_ID) if "id" in client else CLIENT,
        tier=reader.choice(client["tier"], tiers) if "tier" in client else None,
        region=reader.choice(client["region"], REGIONS) if "region" in client else None,
        language=reader.word(client["language"], LANGUAGE) if "language" in client else None,
        needs=tuple(
            (reader.word(skill, IDENTIFIER), reader.integer(level, 1, MAX_LEVEL))
            for skill, level in (reader.entries(fields["needs"]) if "needs" in fields else ())
        ),
        refused=(has,) if barred and has else (),
    )
    return PoolTest(
        rule=pool,
        name=reader.words(fields.get("name"), 120),
        file=reader.file,
        line=line,
        column=column,
        expected=reader.choice(fields.get("expect"), (*names, NO_CAPACITY, WAITS)),
        because=tuple((name, reader.choice(value, REASONS)) for name, value in named("because")),
        loads=tuple((name, reader.integer(value, 0, MAX_CAPACITY)) for name, value in named("loads")),
        has=has,
        said=tuple((name, _said(reader, value, names)) for name, value in named("said")),
        asked=asked,
        at_ms=at_ms,
    )


def _said(reader: Reader, node: Node, names: tuple[str, ...]) -> dict[str, Any]:
    fields = reader.mapping(node, (), SAID_KEYS)
    said: dict[str, Any] = {}
    if "present" in fields:
        said["present"] = reader.choice(fields["present"], ("true", "false")) == "true"
    if "last_day" in fields:
        said["last_day"] = a_day(reader, fields["last_day"])
    if "capacity" in fields:
        said["capacity"] = reader.integer(fields["capacity"], 0, MAX_CAPACITY)
    if "open_tasks" in fields:
        said["open_tasks"] = reader.integer(fields["open_tasks"], 0, MAX_OPEN_TASKS)
    if "leave_from" in fields:
        first = a_day(reader, fields["leave_from"]) or ""
        until = a_day(reader, fields["leave_until"]) if "leave_until" in fields else None
        stand_in = reader.choice(fields["stand_in"], names) if "stand_in" in fields else None
        said[LEAVE + first] = until and (until, stand_in)
    return said


def failure(roster: Roster, test: PoolTest) -> str:
    """What is not as expected; empty when all is."""
    pool = _pool(roster, test)
    pool.now_ms = test.at_ms
    whys = {one.advisor.name: one.why_not for one in candidates(roster, pool, test.asked)}
    found = _outcome(roster, test)
    if found != test.expected:
        kept = [f"{name}: {whys[name] or 'could'}" for name in sorted(whys)]
        return f"it came to {found}" + (f" ({', '.join(kept)})" if kept else "")
    for name, why in test.because:
        if whys[name] != why:
            return f"what kept {name} was {whys[name] or 'nothing'}"
    return ""


def _pool(roster: Roster, test: PoolTest) -> PoolState:
    """As the test gives it, when the client asked."""
    pool = PoolState(test.rule, test.asked.asked_ms)
    weight, loads = roster.weight(test.asked.tier), dict(test.loads)
    if test.has is not None:
        pool.enter(test.asked.client, Entry(test.has, weight, "before"))
        loads[test.has] = max(loads.get(test.has, 0) - weight, 0)
    for name, load in loads.items():
        if load:
            pool.enter(f"others of {name}", Entry(name, load, f"others of {name}"))
    for name, said in test.said:
        hear(pool, name, said, test.asked.asked_ms, test.name)
    return pool


def _outcome(roster: Roster, test: PoolTest) -> str:
    """What the pool has answered by the test's time."""
    pool = _pool(roster, test)
    ask(roster, pool, test.asked)
    pass_time(roster, pool, test.at_ms)
    given = pool.answers.get(test.asked.request)
    return WAITS if given is None else given.advisor or NO_CAPACITY
