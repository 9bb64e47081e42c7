"""`python -m benchmarks.quarter`: the simulator's firm with advisors for a quarter, decided in this process.

Enters: how many clients, days, a seed. Leaves: a table by week in Markdown (who has somebody, how loaded advisors are,
how long tier A waits), and with `--picture` the same as SVG.
Holds: the rules are those shipped, with two files that declare advisors and pools and a rule for tier B; what the
simulator says of advisors is left out, so that the pools alone find them. After every answer nobody has more than the
capacity, else it fails; each request is answered once, withdrawn, or waits at the end, else it fails. The same
arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.quarter_picture import picture
from engine.core.assign.state import PoolState
from engine.core.client.state import ClientState
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import Message
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide.pools import ANSWERS
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import DAY_MS
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Taken, decode, kind_of
from engine.core.rules.ruleset import RuleSet
from engine.demo.simulator import SimulatedRecord, simulate
from engine.operations.record_file import to_json
from engine.rulefile.read.load import load, read_directory
from tests.services.process import REPOSITORY

CLIENTS, DAYS, SEED = 3_000, 92, 7
FIRST = dt.date(2026, 7, 1)
TOPICS = ("profiles", "balances")  # what tiers and pools follow from
COLUMNS = (
    *("week", "clients with an advisor", "load, mean", "fullest"),
    *("A: asked", "at once", "median", "nine of ten", "longest", "nobody"),
)
CAPACITY = 60
CLIENTS_PER_ADVISOR = {"institutions": 800, "east": 85, "rest": 75}
ASSIGNMENT = """\
assignment:
  weights: {A: 3}
  pools:
    institutions: {when: client.type != "individual", team: institutional_sales}
    east:
      when: client.region == "east"
      team: wealth
      needs: {funds: 3 if client.assets_cny >= 4_000_000 else 2 if client.tier == "A" else 0}
      widen: [{after: 4h, by: 1}, {after: 2d, by: 3}]
      give_up: 5d
    rest:
      when: client.days_known >= 0
      team: wealth
      needs: {funds: 3 if client.assets_cny >= 4_000_000 else 2 if client.tier == "A" else 0}
      widen: [{after: 4h, by: 1}, {after: 2d, by: 3}]
      give_up: 5d
"""
RULES = """\
rules:
  - id: advisor-for-tier-b
    title: A client of tier B has no advisor
    owner: wealth
    becomes: not client.has_advisor and client.tier == "B"
    repeat_every: 30d
    kind: assignment
    audience: team
    priority: 50
    cooldown: 7d
    expires: 3d
    template: assign_advisor
    description: Where there is room, tier B has somebody, too.
"""


def advisors(clients: int) -> str:
    """Of three in each pool one knows funds well, and one to some degree; each is a week on leave."""
    random, lines = Random(clients), ["advisors:"]
    for pool, each in CLIENTS_PER_ADVISOR.items():
        for number in range(max(3, clients // each)):
            begins = FIRST + dt.timedelta(days=random.randrange(7, DAYS))
            until = begins + dt.timedelta(days=6)
            lines.append(
                f"  {pool}-{number:02}: {{pool: {pool}, capacity: {CAPACITY}, skills: {{funds: {1 + number % 3}}}, "
                f"leave: [{{from: {begins}, until: {until}}}]}}"
            )
    return "\n".join(lines) + "\n"


def plan(clients: int) -> Plan:
    own = {"advisors.yaml": advisors(clients), "assignment.yaml": ASSIGNMENT, "quarter.yaml": RULES}
    found = load(read_directory(REPOSITORY / "rules") | own)
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return compile_rule_set(found)


@dataclass(slots=True)
class Asked:
    day: int
    tier: str | None
    asked_ms: int
    waited_ms: int | None = None  # None: withdrawn, or it waits
    found: bool = False  # else there was no capacity
    withdrawn: bool = False


@dataclass(slots=True)
class Quarter:
    """What happened. `loads`: of each advisor at the end of each day, as a share of the capacity."""

    loads: dict[str, list[float]] = field(default_factory=dict)
    clients: list[int] = field(default_factory=list)  # who have somebody, at the end of each day
    requests: dict[str, Asked] = field(default_factory=dict)
    waiting: int = 0  # at the end


class Firm:
    def __init__(self, of: Plan, first_ms: int) -> None:
        assert of.pools is not None
        self.quarter = Quarter()
        self.pools: dict[str, PoolState] = {}
        states: dict[str, ClientState] = {}
        self._timeline = Timeline(of, states, self.pools)
        self._roster = of.pools.roster
        self._first_ms = first_ms
        self._read = partial(decode, declared=of.declared_types)

    def take(self, record: SimulatedRecord) -> None:
        value: Any = record.value
        if record.topic == "profiles":
            value = {name: said for name, said in value.items() if name != "advisor_id"}
        key = None if record.key is None else record.key.encode()
        taken = self._read(record.topic, key, to_json(value), record.time_ms)
        assert isinstance(taken, Taken), taken
        for decided in self._timeline.take(kind_of(record.topic, taken.event), taken.event):
            self._look(decided.messages)

    def end_day(self, until_ms: int) -> None:
        for decided in self._timeline.reach(until_ms):
            self._look(decided.messages)
        quarter = self.quarter
        for pool, those in self._roster.advisors.items():
            loads = self.pools[pool].loads if pool in self.pools else Counter[str]()
            for one in those:
                quarter.loads.setdefault(one.name, []).append(loads[one.name] / one.capacity)
        quarter.clients.append(sum(len(pool.book) for pool in self.pools.values()))
        quarter.waiting = sum(len(pool.queue) for pool in self.pools.values())

    def _look(self, messages: list[Message]) -> None:
        for message in messages:
            if message.topic not in (ASSIGNMENT_REQUESTS.name, ANSWERS):
                continue
            said = json.loads(message.value or b"")
            time_ms, requests = parse_time_ms(said["time"]), self.quarter.requests
            if message.topic == ANSWERS:
                self._fits(said["pool"])
                if "why" not in said:
                    asked = requests[said["request_id"]]
                    assert asked.waited_ms is None, f"{said['request_id']} has two answers"
                    asked.waited_ms, asked.found = time_ms - asked.asked_ms, said["outcome"] == "assigned"
            elif said["kind"] == "assign":
                day = (time_ms - self._first_ms) // DAY_MS
                requests[said["request_id"]] = Asked(day, said["tier"], time_ms)
            elif said["kind"] == "release":
                requests[said["request_id"]].withdrawn = True

    def _fits(self, pool: str) -> None:
        book: Counter[str] = Counter()
        for entry in self.pools[pool].book.values():
            book[entry.advisor] += entry.weight
        for one in self._roster.advisors[pool]:
            assert book[one.name] <= one.capacity, f"{one.name} has {book[one.name]} of {one.capacity}"


def play(clients: int, days: int, seed: int) -> Quarter:
    first_ms = int(dt.datetime.combine(FIRST, dt.time(), dt.timezone(dt.timedelta(hours=8))).timestamp()) * 1000
    firm, ends_ms = Firm(plan(clients), first_ms), first_ms + DAY_MS
    for record in simulate(seed, clients, first_ms, first_ms + days * DAY_MS, TOPICS):
        while record.time_ms >= ends_ms:
            firm.end_day(ends_ms - 1)
            ends_ms += DAY_MS
        firm.take(record)
    while ends_ms <= first_ms + days * DAY_MS:
        firm.end_day(ends_ms - 1)
        ends_ms += DAY_MS
    quarter = firm.quarter
    open_ = [one for one in quarter.requests.values() if one.waited_ms is None and not one.withdrawn]
    assert len(open_) == quarter.waiting, f"{len(open_)} requests have no answer, {quarter.waiting} wait"
    return quarter


@dataclass(frozen=True, slots=True)
class Week:
    """Loads are shares of the capacity, at its last day's end; waits are of tier A, in hours."""

    number: int
    clients: int
    load: float
    fullest: float
    asked: int
    at_once: int
    waits: tuple[float, ...]
    nobody: int  # no capacity

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """Median, nine of ten, the longest."""
        if not self.waits:
            return 0.0, 0.0, 0.0
        return median(self.waits), self.waits[(9 * len(self.waits) - 1) // 10], self.waits[-1]


def weeks(quarter: Quarter) -> Iterator[Week]:
    days = len(quarter.clients)
    for number, first in enumerate(range(0, days, 7), start=1):
        last = min(first + 6, days - 1)
        loads = [of_days[last] for of_days in quarter.loads.values()]
        asked = [one for one in quarter.requests.values() if first <= one.day <= last and one.tier == "A"]
        waits = sorted(one.waited_ms / 3_600_000 for one in asked if one.waited_ms is not None and one.found)
        yield Week(
            number,
            quarter.clients[last],
            sum(loads) / len(loads),
            max(loads),
            len(asked),
            sum(wait == 0 for wait in waits),
            tuple(waits),
            sum(one.waited_ms is not None and not one.found for one in asked),
        )


def table(quarter: Quarter) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for one in weeks(quarter):
        cells = [f"{one.number}", f"{one.clients:,}", f"{one.load:.0%}", f"{one.fullest:.0%}", f"{one.asked:,}"]
        cells += [f"{one.at_once:,}", *(f"{hours:.1f} h" if one.waits else "-" for hours in one.quantiles)]
        cells.append(f"{one.nobody:,}")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quarter", description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--picture", type=Path, help="write an SVG there")
    given = parser.parse_args()
    quarter = play(given.clients, given.days, given.seed)
    print("\n".join(table(quarter)))
    if given.picture:
        given.picture.write_text(picture(quarter.loads, [(w.number, w.quantiles) for w in weeks(quarter)]))


if __name__ == "__main__":
    main()
