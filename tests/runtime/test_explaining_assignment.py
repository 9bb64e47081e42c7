"""Why a client got this advisor: what the manual shows is what the engine says."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from engine.advisors import handover
from engine.advisors.explaining import as_json, lines, looked_at
from engine.core.assign.choice import ask
from engine.core.assign.staff import hear
from engine.core.assign.state import Entry, PoolState, Waiting, pack
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
