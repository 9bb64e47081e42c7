"""Budgets in random stories: partitions that act at any time, answers in any order and late, limits up and down, days
that turn. What was spent is counted from the actions alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random

import pytest

from engine.core.contract.message import Message
from engine.core.decide.path import Due
from engine.core.firm_time import DAY_MS, day_of
from engine.core.pace import Block
from engine.core.plan.compile import Plan
from engine.core.policy import rates
from tests.core.making import at, rule
from tests.core.test_budgets import Firm, plan

STORIES = 150
MOVES = 60
COSTS = {"sms": 3, "email": 1}
POLICY = "budgets: {all: {limit: LIMIT CNY, PER of: {channel: [sms, email]}, cost: {sms: 0.03 CNY, email: 0.01 CNY}}}\n"
RULES = (
    rule("text", channels="[sms]", cooldown="1m", expires="1h"),
    rule("mail", channels="[email]", cooldown="1m", expires="1h"),
)


@cache
def limited(limit: int, per: str) -> Plan:
    policy = POLICY.replace("LIMIT", f"{limit // 100}.{limit % 100:02}").replace("PER", per)
    return plan("" if limit < 0 else policy, *RULES)


def faults(seed: int) -> Iterator[str]:
    random = Random(seed)
    per = random.choice(("per: day,", ""))
    limit = random.choice((10, 40, 100))
    firm = Firm(limited(limit, per), partitions=random.randint(1, 4))
    wall_ms, day_ms = at(0), at(0)
    answers: list[Message] = []
    allowed, sent, clients = limit, 0, 0
    for move in range(MOVES):
        wall_ms += random.choice((1, 500, 3_000, 700_000, DAY_MS // 3))
        before, fresh = len(firm.sent), per and day_of(wall_ms) != day_of(day_ms)
        if fresh:
            day_ms, sent, allowed = wall_ms, 0, limit
        kind = random.choice(("come", "come", "come", "time", "ask", "answer", "again", "limit"))
        number = random.randrange(firm.partitions)
        if kind == "come":
            clients += 1
            firm.log_in(f"c{clients}", wall_ms, number)
        elif kind == "time":
            for client in [one for one in firm.states[number].values() if one.due_ms <= wall_ms]:
                firm.decide(number, Due(client.client_id, wall_ms), wall_ms)
        elif kind in ("ask", "again"):
            requests = firm.waiting if kind == "ask" else [m for m in firm.waiting for _ in range(2)]
            firm.waiting = requests[1:]
            if requests:
                answers += firm.ask(requests[0])
        elif kind == "answer" and answers:
            firm.wall_ms = wall_ms
            firm.take(answers.pop(random.randrange(len(answers))))
        elif kind == "limit":
            limit = random.choice((10, 40, 100))
            firm.granters_plan = limited(limit, per)
            firm.plan = firm.granters_plan
            allowed = max(limit, sent)
            for each in range(firm.partitions):
                firm.decide(each, Due("nobody", wall_ms), wall_ms)
        sent += sum(COSTS[one["channel"]] for one in firm.sent[before:])
        if sent > allowed:
            yield f"seed {seed}, move {move} ({kind}): {sent} spent of {allowed}"
            return
    while firm.waiting or answers:
        if firm.waiting:
            answers += firm.ask(firm.waiting.pop(0))
        if answers:
            firm.wall_ms = wall_ms
            firm.take(answers.pop(0))
    granted = Counter[str]()
    for budget in firm.budgets.values():
        granted.update(budget.periods)
    left = sum(block.left for pace in firm.paces if (block := pace.block("all")) is not None)
    cost = sum(COSTS[one["channel"]] for one in firm.sent)
    if granted.total() != cost + left:
        yield f"seed {seed}: {granted} granted, {cost} spent, {left} left"
    if (told := firm.spent["all"]) != cost:
        yield f"seed {seed}: {told} counted as spent, it was {cost}"


def test_no_more_is_spent_than_there_is_and_every_sum_agrees() -> None:
    assert [said for seed in range(STORIES) for said in faults(seed)] == []


@pytest.mark.parametrize("bug", ["late answers are kept", "blocks outlive a limit"])
def test_the_stories_see_a_fault(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "late answers are kept":
        monkeypatch.setattr(rates, "MOST_LATE", 1)
        monkeypatch.setattr(rates, "_closed", _forgets_what_is_to_come)
    else:
        monkeypatch.setattr(rates, "_closed", _keeps_what_is_left)
        monkeypatch.setattr(rates, "settle", lambda budgets, pace, now_ms: [])
    assert any(said for seed in range(STORIES) for said in faults(seed))


def _forgets_what_is_to_come(name: str, block: Block, now_ms: int, messages: list[Message]) -> Block:
    return _CLOSED(name, block._replace(request=""), now_ms, messages)


def _keeps_what_is_left(name: str, block: Block, now_ms: int, messages: list[Message]) -> Block:
    return _CLOSED(name, block._replace(left=0), now_ms, messages)


_CLOSED = rates._closed
