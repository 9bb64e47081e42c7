"""Why a client got this advisor: what the manual shows is what the engine says."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from engine.advisors import handover, tasks
from engine.advisors.explaining import as_json, lines, looked_at
from engine.core.assign.choice import ask, want_room
from engine.core.assign.staff import hear
from engine.core.assign.state import Entry, PoolState, Task, Waiting, pack
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide.pools import take
from engine.core.plan.compile import Plan, compile_rule_set
from engine.rulefile.roster.cases import PoolTest
from engine.rulefile.trial.run import run_tests
from tests.core.making import at
from tests.rulefile.sample import good
from tests.rulefile.test_roster import files
from tests.services.process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "care.md").read_text(encoding="utf-8")
BLOCKS = [
    block
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    if block.startswith(("advisors:", "assignment:", "tests:"))
]
HOUR_MS = 3_600_000


def manual() -> Plan:
    """Of the files that the manual shows."""
    advisors, assignment, tests = BLOCKS[:3]
    return compile_rule_set(good(files(advisors, assignment + tests, rules="rules: []\n")))


def request(tier: str | None = "A", needs: tuple[tuple[str, int], ...] = (("funds", 3),)) -> Waiting:
    return Waiting(70, at(0), "91721475a5553a31549398be4ff47a8d", "C000186", tier, "east", "zh", needs)


def test_the_manual_shows_an_answer() -> None:
    plan = manual()
    assert plan.pools is not None
    pool = PoolState("wealth_east", at(0))
    for name, load in (("li-na", 47), ("adv-7", 12)):
        pool.enter(f"others of {name}", Entry(name, load, ""))
    before = looked_at(plan, pool, request(), None)
    ((_, given),) = ask(plan.pools.roster, pool, request())
    shown = "\n".join(lines(replace(before, given=given)))
    digest = plan.rule_set.digest[:12]
    assert f"```\n{shown.replace(digest, '4f7bbce9b0f6')}\n```" in PAGE


def test_the_manual_shows_who_is_absent() -> None:
    plan = manual()
    assert plan.pools is not None
    pool = PoolState("wealth_east", at(-1))
    hear(pool, "li-na", {"present": False}, at(0) - 3 * HOUR_MS, "hr-81")
    shown = [line for line in lines(looked_at(plan, pool, request(), None)) if "li-na" in line]
    assert "```\n" + "\n".join(shown) + "\n```" in PAGE


def test_the_manual_s_rows_are_read() -> None:
    (rows,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    rule_set = good(files(BLOCKS[0], BLOCKS[1], rules="rules: []\n") | {"advisors.csv": rows})
    (wu,) = [one for one in rule_set.advisors if one.name == "wu"]
    assert (wu.skills, wu.leave[0].stand_in) == ((("funds", 2), ("tax", 1)), "li-na")


def test_the_manual_s_tests_hold() -> None:
    advisors, assignment, tests = BLOCKS[:3]
    report = run_tests(good(files(advisors, assignment + tests, rules="rules: []\n")))
    of_pools = [result for result in report.results if isinstance(result.test, PoolTest)]
    assert [result.failure for result in of_pools] == [""] * 4


def test_who_waits_is_shown_with_what_is_asked_by_now() -> None:
    plan = manual()
    assert plan.pools is not None
    pool = PoolState("wealth_east", at(0))
    pool.enter("others", Entry("li-na", 119, ""))
    assert ask(plan.pools.roster, pool, request()) == []
    pool.now_ms = at(0) + 5 * HOUR_MS
    found = looked_at(plan, pool, request(), None)
    assert (found.less, found.weight) == (1, 3)
    told = list(lines(found))
    assert told[1] == "  needs funds 3, by now 1 less"
    assert told[3].startswith("  waits at ")
    assert told[4:] == [
        "    adv-7: no, tier: takes clients of tier B, C",
        "    li-na: no, capacity: load 119 of 120, and the client takes 3",
    ]
    of_b = looked_at(plan, pool, request("B"), None)
    assert list(lines(of_b))[4] == "    adv-7: no, skills: funds 0 of 2"


def test_programs_read_the_same() -> None:
    plan = manual()
    found = as_json(looked_at(plan, PoolState("wealth_east", at(0)), request(), None))
    assert json.loads(json.dumps(found)) == found
    assert (found["outcome"], found["advisor_id"], found["needs"]) == ("waits", None, {"funds": 3})
    assert [(one["advisor_id"], one["why_not"]) for one in found["candidates"]] == [("adv-7", "tier"), ("li-na", None)]


LEAVING = """\
advisors:
  chen: {pool: wealth_east, capacity: 10, last_day: 2026-02-16}
  li-na: {pool: wealth_east, capacity: 3, skills: {funds: 3}}
  wu: {pool: wealth_east, capacity: 6, leave: [{from: 2026-02-20, until: 2026-03-06}]}
"""


def book() -> tuple[Plan, PoolState]:
    """Whom chen has: two of tier A, one who needs funds, and one of tier B."""
    plan = compile_rule_set(good(files(LEAVING, BLOCKS[1], rules="rules: []\n")))
    assert plan.pools is not None
    pool = PoolState("wealth_east", at(0))
    for number, (tier, needs) in enumerate((("A", ()), ("B", ()), ("A", (("funds", 3),)), ("A", ()))):
        weight = plan.pools.roster.weight(tier)
        pool.enter(f"C{number}", Entry("chen", weight, f"r{number}", tier, None, None, needs))
    return plan, pool


def test_the_manual_shows_a_handover_and_the_pool_does_it_so() -> None:
    plan, pool = book()
    assert plan.pools is not None
    before = pack(pool)
    found = handover.plan_of(plan.pools.roster, pool, "chen", at(1))
    assert pack(pool) == before
    shown = "\n".join(handover.lines(found))
    assert f"```\n{shown}\n```" in PAGE
    pools = {"wealth_east": pool}
    for line in handover.requests(found, at(1)):
        record = json.loads(line)
        assert (record["topic"], record["key"]) == ("assignment_requests", "wealth_east")
        asked = ASSIGNMENT_REQUESTS.validate(json.dumps(record["value"]).encode())
        take(plan.pools.roster, pools, asked)  # type: ignore[arg-type]
        take(plan.pools.roster, pools, asked)  # type: ignore[arg-type]  # once more: it changes nothing
    now = {client: entry.advisor for client, entry in pool.book.items()}
    assert now == {client: to or "chen" for client, _, to in found.steps}
    assert {name: pool.loads[name] for name in found.after} == found.after
    assert handover.as_json(found)["after"] == found.after


def test_who_gets_new_clients_still_is_said() -> None:
    plan, pool = book()
    assert plan.pools is not None
    pool.enter("C9", Entry("wu", 1, "r9"))
    told = list(handover.lines(handover.plan_of(plan.pools.roster, pool, "wu", at(1))))
    assert told[1] == "  wu gets new clients still: say last_day first, in advisors.yaml or on the topic advisors"


def test_the_manual_shows_who_is_on_leave() -> None:
    plan, pool = book()
    pool.now_ms = at(5)
    found = looked_at(plan, pool, request("C", ()), None)
    assert list(lines(found))[-3:] == [
        "    chen: no, left: the last day was 2026-02-16",
        "    li-na: could: load 1 of 3 with the client",
        "    wu: no, leave: until 2026-03-06",
    ]


TASK = "5b0c51f7ad1b7f6d2f0c6d5a0b7a1c9e"
WITH_NUMBER = """\
advisors:
  li-na: {pool: wealth_east, capacity: 120, open_tasks: 20, last_day: 2026-03-31,
          leave: [{from: 2026-03-02, until: 2026-03-06}]}
  wu: {pool: wealth_east, capacity: 9}
"""


def of_tasks(advisors: str = WITH_NUMBER) -> tuple[Plan, PoolState]:
    """Twenty of li-na are open, two wait."""
    plan, pool = (
        compile_rule_set(good(files(advisors, BLOCKS[1], rules="rules: []\n"))),
        PoolState("wealth_east", at(0)),
    )
    assert plan.pools is not None
    for number in range(21):
        want_room(plan.pools.roster, pool, f"r{number}", Task(80, at(0), f"C{number}", "li-na"))
    want_room(plan.pools.roster, pool, TASK, Task(70, at(0), "C000186", "li-na"))
    pool.now_ms = at(0) + 5 * HOUR_MS
    return plan, pool


def test_the_manual_shows_why_a_task_waits() -> None:
    plan, pool = of_tasks()
    found = tasks.looked_at(plan, pool, TASK)
    shown = "\n".join(lines(found)).replace(plan.rule_set.digest[:12], "4f7bbce9b0f6")
    assert f"```\n{shown}\n```" in PAGE
    told = as_json(found)
    assert json.loads(json.dumps(told)) == told
    assert (told["outcome"], told["client_id"], told["candidates"][0]["before"]) == ("waits", "C000186", 1)


def test_a_task_that_is_open_and_one_that_is_over() -> None:
    plan, pool = of_tasks()
    opened = list(lines(tasks.looked_at(plan, pool, "r3")))
    assert opened[2].startswith("  open since 2026-02-16 12:00 (UTC+8), at once, by rule set ")
    assert opened[3] == "    li-na: has it: 20 of 20 are open"
    assert as_json(tasks.looked_at(plan, pool, "r3"))["outcome"] == "open"
    pool.end("r3")
    assert tasks.is_known(pool, "r3")
    assert list(lines(tasks.looked_at(plan, pool, "r3")))[1].startswith(
        "  over since 2026-02-16 17:00 (UTC+8): it was "
    )
    assert (as_json(tasks.looked_at(plan, pool, "r3"))["outcome"], tasks.is_known(pool, "r99")) == ("over", False)


@pytest.mark.parametrize(
    ("days", "advisors", "said"),
    [
        (14, WITH_NUMBER, "leave: until 2026-03-06; the team gets it"),
        (60, WITH_NUMBER, "left: the last day was 2026-03-31; the team gets it"),
        (1, WITH_NUMBER.replace("pool: wealth_east, capacity: 120", "pool: everybody_else, capacity: 120"),
         "other_pool: of pool everybody_else now; the client asks there"),
        (1, WITH_NUMBER.replace("li-na", "bo"),
         "unknown: neither advisors.yaml nor .csv has this advisor; the team gets it"),
    ],
)  # fmt: skip
def test_what_keeps_a_task(days: int, advisors: str, said: str) -> None:
    _, pool = of_tasks()
    pool.now_ms = at(days)
    plan = compile_rule_set(good(files(advisors, BLOCKS[1], rules="rules: []\n")))
    assert list(lines(tasks.looked_at(plan, pool, TASK)))[3] == f"    li-na: no, {said}"


def test_a_task_whose_advisor_is_absent_and_one_that_could_be_given() -> None:
    plan, pool = of_tasks()
    hear(pool, "li-na", {"present": False}, at(0) + HOUR_MS, "hr-1")
    last = list(lines(tasks.looked_at(plan, pool, TASK)))[3]
    assert last == "    li-na: no, absent: since 2026-02-16 13:00 (UTC+8), as the topic advisors says"
    hear(pool, "li-na", {"present": None, "open_tasks": 25}, at(0) + 2 * HOUR_MS, "hr-2")
    assert list(lines(tasks.looked_at(plan, pool, TASK)))[3] == "    li-na: could: 20 of 25 are open"
    free, _ = of_tasks(WITH_NUMBER.replace(" open_tasks: 20,", ""))
    pool.said = {}
    pool.staff = None
    assert list(lines(tasks.looked_at(free, pool, TASK)))[3] == "    li-na: could: any number can be open"
