"""Pools against the slow model: random rosters, requests, releases and changes of the roster, by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from engine.core.assign import choice, staff, state, tasks
from engine.core.assign.choice import HANDOVER, ask, pass_on, pass_time, reconsider, release
from engine.core.assign.roster import Advisor, Assignment, Leave, Pool, Roster, Widening, roster_of
from engine.core.assign.staff import LEAVE
from engine.core.assign.state import Entry, Given, PoolState, Task, Waiting, pack, unpack
from engine.rulefile.source.fields import ALWAYS
from tests.properties.assignment_model import Plain, PoolModel, Said

HOUR_MS = 3_600_000
BASE_MS = 1_772_000_000_000
STORIES = 400
CLIENTS = [f"c{number}" for number in range(8)]
NAMES = [f"adv-{number}" for number in range(3)]
Move = Callable[[PoolModel, PoolState], tuple[list[Any], list[Any]]]


def plain_roster(random: Random) -> Plain:
    def some(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value for value in values if random.random() < 0.4)

    advisors = [
        {
            "name": f"adv-{number}",
            "capacity": random.choice((0, 1, 2, 3, 5, 9)),
            "open_tasks": random.choice((None, 1, 1, 2, 3)),
            "regions": some(("east", "west")),
            "languages": some(("zh", "en")),
            "tiers": some(("A", "B", "C")),
            "skills": {skill: random.randint(1, 4) for skill in some(("funds", "tax"))},
            "licence": random.choice((None, None, "2026-02-26", "2026-03-01")),
            "last_day": random.choice((None, None, None, "2026-02-28")),
            "leave": plain_leaves(random, number),
            "not_for": tuple(client for client in CLIENTS if random.random() < 0.2),
        }
        for number in range(random.randint(0, 5))
    ]
    hours = sorted(random.sample(range(1, 72), random.randint(0, 3)))
    levels = sorted(random.sample(range(1, 6), len(hours)))
    widen = [(after * HOUR_MS, by) for after, by in zip(hours, levels, strict=True)]
    give_up = random.randint(72, 120) * HOUR_MS if widen or random.random() < 0.3 else 0
    weights = {tier: random.randint(1, 3) for tier in ("A", "B")}
    accept = random.choice((0, 0, 3 * HOUR_MS, 30 * HOUR_MS))
    elsewhere = tuple(name for name in NAMES if random.random() < 0.15)
    return {
        **{"advisors": [one for one in advisors if one["name"] not in elsewhere], "elsewhere": elsewhere},
        **{"widen": widen, "give_up": give_up, "weights": weights, "accept": accept},
    }


def plain_leaves(random: Random, number: int) -> list[tuple[str, str, str | None]]:
    """From one day to another, with a stand-in who may be on leave, too, or with none."""
    days = [f"2026-02-{day}" for day in sorted(random.sample(range(25, 29), 2 * random.choice((0, 0, 1, 2))))]
    stand_ins = (None, *(f"adv-{other}" for other in range(3) if other != number))
    return [(first, last, random.choice(stand_ins)) for first, last in zip(days[::2], days[1::2], strict=True)]


def plain_change(random: Random, number: int, time_ms: int) -> Plain:
    """What a record on the topic advisors says; some come late, some at one time with others."""
    says: Plain = {}
    for name, values in (
        ("present", (False, False, True, None)),
        ("capacity", (0, 1, 4, None)),
        ("open_tasks", (0, 2, None)),
    ):
        if random.random() < 0.4:
            says[name] = random.choice(values)
    if random.random() < 0.1:
        says["last_day"] = random.choice(("2026-02-26", None))
    if random.random() < 0.4 or not says:
        first, last = sorted(random.sample(range(25, 29), 2))
        stand_in = random.choice((None, *NAMES))
        until = f"2026-02-{last}" if random.random() < 0.7 else None
        says["leave", f"2026-02-{first}"] = until and (until, stand_in)
    late_ms = random.choice((0, 0, 0, HOUR_MS, 20 * HOUR_MS))
    event = f"e{random.randrange(100)}-{number}"
    return {"advisor": random.choice(NAMES), "time": time_ms - late_ms, "event": event, "says": says}


def as_kept(says: Plain) -> dict[str, Any]:
    return {LEAVE + name[1] if isinstance(name, tuple) else name: value for name, value in says.items()}


def roster(plain: Plain) -> Roster:
    widen = tuple(Widening(after // 1000, by) for after, by in plain["widen"])
    pool = Pool("p", ALWAYS, "wealth", (), widen, plain["give_up"] // 1000, plain["accept"] // 1000)
    advisors = [
        Advisor(
            name=a["name"],
            pool="p",
            capacity=a["capacity"],
            regions=a["regions"],
            languages=a["languages"],
            tiers=a["tiers"],
            skills=tuple(a["skills"].items()),
            licence_until=a["licence"],
            leave=tuple(Leave(*leave) for leave in a["leave"]),
            last_day=a["last_day"],
            not_for=a["not_for"],
            open_tasks=a["open_tasks"],
        )
        for a in plain["advisors"]
    ]
    advisors += [Advisor(name=name, pool="q", capacity=9, open_tasks=9) for name in plain["elsewhere"]]
    other = Pool("q", ALWAYS, "wealth")
    return roster_of(Assignment((pool, other), tuple(plain["weights"].items())), advisors)


def told(answers: list[tuple[str, Given]]) -> list[Said]:
    return [(request, given.time_ms, given.advisor or None, given.why) for request, given in answers]


def differences(seed: int, moves: int = 40) -> Iterator[str]:
    """Where a story ends otherwise than the model says: the first place."""
    random = Random(seed)
    plain = plain_roster(random)
    now, made = roster(plain), BASE_MS
    model, pool = PoolModel(plain, BASE_MS), PoolState("p", BASE_MS)
    asked: list[tuple[str, str, Plain]] = []
    heard: list[Plain] = []
    wanted: list[Plain] = []
    for number in range(moves):
        made += random.choice((0, 1, HOUR_MS, 5 * HOUR_MS, 30 * HOUR_MS))
        time_ms = made - random.choice((0, 0, 0, 2 * HOUR_MS))  # a client that is behind
        kind = random.choice(
            (
                "ask",
                "ask",
                "ask",
                "again",
                "release",
                "release",
                "accept",
                "pass",
                "said",
                "said",
                "said",
                *("task", "task", "task", "task again", "end", "end", "comes"),
                "time",
                "roster",
            )
        )
        if kind in ("task", "task again", "comes") or (kind == "end" and not wanted):
            about_task = {
                **{"request": f"t{number}", "advisor": random.choice((*NAMES, "adv-4")), "client": "c"},
                **{"time": time_ms, "priority": random.choice((10, 50, 50))},
            }
            if kind != "task" and wanted and random.random() < 0.5:
                about_task = random.choice(wanted) | {"time": time_ms}
            wanted.append(about_task)
            task = Task(about_task["priority"], about_task["time"], "c", about_task["advisor"])
            comes, about = kind == "comes", (now, pool, about_task["request"], task)
            left = model.bring(about_task) if comes else model.want(about_task)
            right = told(choice.bring_task(*about) if comes else choice.want_room(*about))
        elif kind == "end":
            request = random.choice(wanted)["request"]
            left, right = model.end(request, time_ms), told(release(now, pool, request, "c", time_ms))
        elif kind == "ask" or not asked:
            one = {
                "request": f"r{number}",
                "client": random.choice(CLIENTS),
                "time": time_ms,
                "tier": random.choice(("A", "B", "C", None)),
                "region": random.choice(("east", "west", "north", None)),
                "language": random.choice(("zh", "en", None)),
                "needs": {skill: random.randint(1, 4) for skill in ("funds", "tax") if random.random() < 0.4},
                "priority": random.choice((10, 50, 50)),
                "refused": random.choice(((), (), (), ("adv-0",))),
            }
            asked.append((one["request"], one["client"], one))
            left, right = model.ask(one), told(ask(now, pool, waiting(one)))
        elif kind == "again":
            one = random.choice(asked)[2] | {"time": time_ms}
            left, right = model.ask(one), told(ask(now, pool, waiting(one)))
        elif kind == "release":
            request, client, _ = random.choice(asked)
            left = model.release(request, client, time_ms)
            right = told(release(now, pool, request, client, time_ms))
        elif kind == "accept":
            about = *random.choice(asked)[:2], random.choice(NAMES), time_ms
            left, right = model.accept(*about), told(choice.accept(now, pool, *about))
        elif kind == "pass":
            about, why = (
                (*random.choice(asked)[:2], random.choice(NAMES), time_ms),
                random.choice(("declined", HANDOVER)),
            )
            left, right = model.pass_on(*about, why), told(pass_on(now, pool, *about, why))
        elif kind == "said":
            record = (
                plain_change(random, number, time_ms) if random.random() < 0.8 or not heard else random.choice(heard)
            )
            heard.append(record)
            about = record["advisor"], as_kept(record["says"]), record["time"], record["event"]
            left, right = model.hear(record), told(choice.hear(now, pool, *about))
        elif kind == "time":
            left, right = model.pass_time(made), told(pass_time(now, pool, made))
        else:
            plain = plain_roster(random)
            now = roster(plain)
            left, right = model.change(plain, made), told(reconsider(now, pool, made))
        held, pool = pool, unpack(pack(pool))
        stored = list(held.book.items()) == list(pool.book.items()) and held.answers == pool.answers
        stored = stored and held.tasks == pool.tasks and held.ended == pool.ended and held.queued == pool.queued
        tasks_of = {name: (pool.open[name], len(pool.queued.get(name, ()))) for name in {*pool.open, *pool.queued}}
        loads = {advisor: load for advisor, load in pool.loads.items() if load}
        same = loads == model.loads() and {n: of for n, of in tasks_of.items() if any(of)} == model.open_tasks()
        same = same and len(pool.queue) == len(model.waiting) and pool.away == model.away
        if left != right or not same or not stored:
            kept = "" if stored else ", and what is stored is not what the pool holds"
            yield f"seed {seed}, move {number} ({kind}): {left} and {model.loads()}, here {right} and {loads}{kept}"
            return


def waiting(one: Plain) -> Waiting:
    needs = tuple(one["needs"].items())
    return Waiting(
        one["priority"],
        one["time"],
        one["request"],
        one["client"],
        one["tier"],
        one["region"],
        one["language"],
        needs,
        one["refused"],
    )


def test_pools_do_what_the_slow_model_says():
    assert [said for seed in range(STORIES) for said in differences(seed)] == []


def _no_capacity(roster: Roster, pool: PoolState, asked: Waiting, advisor: Advisor) -> str:
    why = _WHY_NOT(roster, pool, asked, advisor)
    return "" if why == "capacity" else why


def _to_whom_it_must_not(roster: Roster, pool: PoolState) -> choice.Answers:
    free = {name: tuple(replace(one, not_for=()) for one in of) for name, of in roster.advisors.items()}
    pool.staff = None
    return _TURN_OVER(replace(roster, advisors=free), pool)


def _no_conflict(roster: Roster, pool: PoolState, asked: Waiting, advisor: Advisor) -> str:
    return _WHY_NOT(roster, pool, asked, replace(advisor, not_for=()))


def _as_if_nobody_had_refused(roster: Roster, pool: PoolState, asked: Waiting) -> str | None:
    return _CHOOSE(roster, pool, asked._replace(refused=()))


def _entered(pool: PoolState, client: str, entry: Entry) -> None:
    before = pool.packed_book.get(client)
    _ENTER(pool, client, entry)
    pool.packed_book[client] = before or pool.packed_book[client]


def _as_it_came(pool: PoolState, advisor: str, said: Plain, time_ms: int, event: str) -> bool:
    return staff.hear(pool, advisor, said, next(_COUNTED), event)


def _any_number(roster: Roster, pool: PoolState, advisor: str = "") -> choice.Answers:
    free = {name: tuple(replace(one, open_tasks=None) for one in of) for name, of in roster.advisors.items()}
    pool.staff = None
    answers = _SERVE_TASKS(replace(roster, advisors=free), pool, advisor)
    pool.staff = None
    return answers


def _as_they_came(pool: PoolState, request: str, task: Task) -> None:
    _PUT(pool, request, task._replace(priority=0))


_SERVE_TASKS, _PUT = tasks.serve, PoolState.put
_WHY_NOT, _CHOOSE, _ENTER, _COUNTED = choice.why_not, choice.choose, PoolState.enter, count()
_TURN_OVER = choice._turn_over
FAULTS: dict[str, tuple[Any, str, Any]] = {
    "capacity is not asked": (choice, "why_not", _no_capacity),
    "skills are never lowered": (choice, "widened", lambda pool, waited_ms: choice.NOT_WIDENED),
    "answers are forgotten": (state, "MAX_ANSWERS", 0),
    "who waits is served by name": (Waiting, "turn", property(lambda one: (0, 0, one.request))),
    "a release serves nobody": (choice, "_serve", lambda roster, pool: []),
    "who is on leave gets clients": (Advisor, "away", lambda self, day: None),
    "who is absent gets clients": (staff, "_as_said", lambda advisor, facts: advisor),
    "what came last holds": (choice, "noted", _as_it_came),
    "a stand-in gets whom it must not have": (choice, "_turn_over", _to_whom_it_must_not),
    "a conflict is not seen": (choice, "why_not", _no_conflict),
    "whoever has a client keeps it": (choice, "_part", lambda roster, pool: []),
    "nobody stands in": (choice, "_turn_over", lambda roster, pool: []),
    "who declined is asked again": (choice, "choose", _as_if_nobody_had_refused),
    "a client that was accepted is taken away": (choice, "accept", lambda roster, pool, *about: []),
    "a client is stored as it first came": (PoolState, "enter", _entered),
    "what comes with a client does not count": (tasks, "bring", lambda pool, request, task: None),
    "what comes with a client waits": (tasks, "bring", lambda pool, request, task: pool.put(request, task)),
    "whose advisor is of another pool is told of the team": (Roster, "is_elsewhere", lambda self, advisor, pool: False),
    "tasks are not counted": (tasks, "serve", _any_number),
    "tasks are served as they came": (PoolState, "put", _as_they_came),
    "a task that is over is given room again": (PoolState, "end", PoolState.take),
    "who is away is given tasks": (tasks, "is_away", lambda pool, advisor: False),
    "nobody sees that who has left has tasks waiting": (tasks, "turns_ms", lambda roster, pool: iter(())),
    "the weight of a tier is not asked": (Roster, "weight", lambda self, tier: 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_sees_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, instead = FAULTS[fault]
    monkeypatch.setattr(where, name, instead)
    if fault == "a release serves nobody":  # else time would never pass
        monkeypatch.setattr(choice, "pass_time", lambda roster, pool, until_ms: [])
    assert any(said for seed in range(STORIES) for said in differences(seed))
