"""Budgets: what is asked of one, what its answers do, what is spent, what is given back; over partitions, in turn."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import pytest

from engine.core.assign import budgets as granting
from engine.core.assign.budgets import BudgetState, Part, give_back, grant
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import Message
from engine.core.contract.topics import BUDGET_REQUESTS, TOPICS
from engine.core.decide import pools
from engine.core.decide.path import Due, decide
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS
from engine.core.pace import Block, Pace
from engine.core.plan.compile import Plan
from engine.core.policy import rates
from engine.core.policy.rates import AGAIN_MS, FIRST_MS
from engine.processors.assignment import ASSIGNMENT
from tests.core.making import at, login, plan_of, profile, rule

MONTH = "budgets: {sms: {limit: 1 CNY, per: month, of: {channel: sms}, cost: 0.05 CNY}}\n"
RULE = rule("hello", channels="[sms, email]", cooldown="1m")


def plan(policy: str, *rules: str) -> Plan:
    return plan_of(*(rules or (RULE,)), others=(("policy.yaml", "contact: {daily_cap: 100}\n" + policy),))


class Firm:
    """Partitions of clients and the processor of budgets; answers come when they are let through."""

    def __init__(self, rules: Plan, partitions: int = 2) -> None:
        self.plan = self.granters_plan = rules
        self.partitions = partitions
        self.states: list[dict[str, Any]] = [{} for _ in range(partitions)]
        self.paces = [Pace(partitions=partitions) for _ in range(partitions)]
        self.budgets: dict[str, BudgetState] = {}
        self.waiting: list[Message] = []  # requests
        self.requests: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []  # decisions
        self.outcomes: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.wall_ms = 0

    def decide(self, number: int, item: Any, wall_ms: int = 0) -> None:
        pace, self.wall_ms = self.paces[number], max(self.wall_ms, wall_ms)
        pace.kept = json.loads(json.dumps(pace.kept))  # as from the position
        decided = decide(self.plan, self.states[number], [item], wall_ms, pace)
        self.outcomes.update(str(outcome) for _, outcome in decided.outcomes.elements())
        self.spent.update(
            {name: times for (what, *name), times in decided.counts.items() if what == "budget_spent" for name in name}
        )
        for message in decided.messages:
            if message.topic == "budget_requests":
                self.waiting.append(message)
                self.requests.append(json.loads(message.value))
            elif message.topic == "decisions":
                self.told.append(json.loads(message.value))
            elif message.topic == "messages":
                self.sent.append(json.loads(message.value))

    def log_in(self, client: str, time_ms: int, number: int = 0, **said: Any) -> None:
        if client not in self.states[number]:
            self.decide(number, profile(time_ms - 1, client, consents=("sms", "email"), **said))
        self.decide(number, login(time_ms, client), time_ms)

    def answer(self) -> list[dict[str, Any]]:
        """The answers to what was asked, each taken in by its client's partition."""
        waiting, self.waiting = self.waiting, []
        told = [answer for message in waiting for answer in self.ask(message)]
        for message in told:
            self.take(message)
        return [json.loads(message.value) for message in told]

    def ask(self, message: Message) -> list[Message]:
        asked: Any = BUDGET_REQUESTS.validate(message.value)
        self.budgets = {key: granting.unpack(granting.pack(state)) for key, state in self.budgets.items()}
        return pools.ask_budget(self.granters_plan.budgets, self.budgets, asked, self.partitions)

    def take(self, answer: Message) -> None:
        client = (answer.key or b"").decode()
        (number,) = (n for n, states in enumerate(self.states) if client in states)
        self.decide(number, ("budget_answers", TOPICS["budget_answers"].validate(answer.value)), self.wall_ms)

    def block(self, name: str = "sms", number: int = 0) -> Block:
        block = self.paces[number].block(name)
        assert block is not None
        return block

    def granted(self, name: str = "sms") -> int:
        return self.budgets[f"budget:{name}"].granted


def test_the_first_action_waits_for_a_block_and_the_next_ones_spend_it():
    firm = Firm(plan(MONTH))
    firm.log_in("c1", at(0))
    (asked,) = firm.requests
    assert (asked["kind"], asked["client_id"], asked["client"]) == ("grant", "budget:sms", "c1")
    assert (asked["amount"], asked["least"], asked["limit"], asked["period"]) == (80, 5, 100, "month:2026-02-01")
    assert (firm.outcomes, firm.sent) == ({"held": 1}, [])
    (answer,) = firm.answer()
    assert (answer["outcome"], answer["amount"]) == ("granted", 25)  # the other partition has room for as much
    assert [one["client_id"] for one in firm.sent] == ["c1"]  # with the answer
    assert firm.sent[0]["not_before"] is not None
    for number in range(2, 6):
        firm.log_in(f"c{number}", at(0.1) + number)
        firm.answer()
    assert (len(firm.sent), firm.spent) == (5, {"sms": 25})
    assert [one["kind"] for one in firm.requests] == ["grant", "grant"]  # the second, before the first is used up
    assert firm.granted() == 25 + firm.block().left


def test_no_partition_spends_what_another_has_and_all_is_spent():
    firm = Firm(plan(MONTH), partitions=3)
    for number in range(60):
        firm.log_in(f"c{number}", at(0.01 * number), number % 3)
        firm.answer()
    assert len(firm.sent) == 20  # at 0.05 of 1 CNY
    assert firm.spent == {"sms": 100}
    assert firm.outcomes["no_budget"] == 40
    assert firm.granted() == 100
    assert all(firm.block(number=number).left == 0 for number in range(3))


def test_why_nothing_is_sent_is_told_once_a_day():
    firm = Firm(plan(MONTH.replace("1 CNY", "0.04 CNY")))
    for day in (0, 0.1, 1):
        firm.log_in("c1", at(day))
        firm.answer()
    assert [one["outcome"] for one in firm.told] == ["held", "no_budget", "no_budget"]
    _, first, second = firm.told
    assert first["numbers"] == {"budget": "sms", "limit": "0.04", "period": "month:2026-02-01"}
    assert first["until"] == "2026-02-28T16:00:00.000Z"  # the firm's midnight
    assert second["folded"] == [{"rule_id": "hello", "outcome": "no_budget", "times": 1}]


def test_others_of_the_partition_are_decided_again_soon_then_later():
    firm = Firm(plan(MONTH), partitions=1)
    firm.log_in("c1", at(0))
    firm.log_in("c2", at(0) + 1)
    assert len(firm.requests) == 1  # one at a time
    due_ms = firm.states[0]["c2"].due_ms
    assert due_ms == at(0) + 1 + FIRST_MS
    waits = []
    for _ in range(4):
        firm.decide(0, Due("c2", due_ms), due_ms)
        waits.append(firm.states[0]["c2"].due_ms - due_ms)
        due_ms = firm.states[0]["c2"].due_ms
    assert waits == [(FIRST_MS + 1) * n for n in (1, 2, 4, 8)]  # as long as nobody has answered
    firm.answer()
    firm.decide(0, Due("c2", due_ms), due_ms)
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2"]


def test_a_herd_goes_out_after_two_answers():
    firm = Firm(plan(MONTH.replace("1 CNY", "900 CNY")), partitions=1)
    for number in range(200):
        firm.log_in(f"c{number}", at(0) + number)
    firm.answer()
    assert len(firm.sent) == 1
    for wait in (1, 2):
        wall_ms = at(0) + wait * (FIRST_MS + 1_000)
        for client in list(firm.states[0].values()):
            if client.due_ms <= wall_ms:
                firm.decide(0, Due(client.client_id, wall_ms), wall_ms)
                if len(firm.requests) == 2:
                    firm.answer()
    assert (len(firm.sent), len(firm.requests)) == (200, 3)
    assert firm.requests[1]["amount"] == 199 * 5  # those that waited


def test_without_an_answer_it_is_asked_again_by_the_same_id_and_granted_once():
    firm = Firm(plan(MONTH, rule("hello", channels="[sms]", cooldown="1m", expires="1h")), partitions=1)
    firm.log_in("c1", at(0))
    while (client := firm.states[0]["c1"]).waiting:
        firm.decide(0, Due("c1", client.due_ms), client.due_ms)
    assert client.now_ms == at(0) + HOUR_MS - 1
    assert (firm.outcomes["no_budget"], firm.outcomes["sent"]) == (1, 0)
    ids = {one["request_id"] for one in firm.requests}
    assert (len(firm.requests), len(ids)) == (6, 1)  # some ten minutes lie between them
    times = [parse_time_ms(one["time"]) for one in firm.requests]
    assert min(b - a for a, b in itertools.pairwise(times)) >= AGAIN_MS
    firm.answer()
    assert firm.granted() == firm.block().left == 50


def test_days_without_an_answer_take_few_decisions():
    """As where a history is played, and days lie between a client's events before the answer can be read."""
    firm = Firm(plan(MONTH, rule("hello", channels="[sms]", cooldown="1m", expires="10d")), partitions=1)
    firm.decide(0, profile(at(0) - 1, "c1", consents=("sms",)))
    for day in (0, 9):  # by the events' own clock
        firm.decide(0, login(at(day), "c1"))
    times = [
        parse_time_ms(one["time"]) for one in firm.told if one["cause"]["event_id"] == firm.told[0]["cause"]["event_id"]
    ]
    assert 20 < len(times) < 200
    waits_ms = [after - before for before, after in itertools.pairwise(times)]
    assert max(waits_ms) < 9 * DAY_MS / 4  # a part of what has passed


def test_the_period_turns_at_the_firms_midnight_and_what_is_left_is_given_back():
    firm = Firm(plan(MONTH), partitions=1)
    midnight_ms = at(0) - 12 * HOUR_MS + 13 * DAY_MS  # 1 March in Shanghai
    firm.log_in("c1", midnight_ms - 2)
    firm.answer()
    assert (firm.block().left, firm.granted()) == (45, 50)
    firm.decide(0, Due("nobody", midnight_ms - 1), midnight_ms - 1)
    assert firm.block().left == 45
    firm.decide(0, Due("nobody", midnight_ms), midnight_ms)
    returned = firm.requests[-1]
    assert (returned["kind"], returned["amount"], returned["period"]) == ("return", 45, "month:2026-02-01")
    firm.answer()
    assert firm.granted() == 5  # what was spent
    firm.log_in("c2", midnight_ms + 1)
    (answer,) = firm.answer()
    assert (answer["period"], answer["amount"]) == ("month:2026-03-01", 50)
    assert firm.budgets["budget:sms"].periods == {"month:2026-02-01": 5, "month:2026-03-01": 50}


def test_an_answer_that_comes_after_its_period_is_given_back():
    firm = Firm(plan(MONTH), partitions=1)
    midnight_ms = at(0) - 12 * HOUR_MS + 13 * DAY_MS
    firm.log_in("c1", midnight_ms - 2)
    firm.decide(0, Due("nobody", midnight_ms), midnight_ms)
    firm.answer()
    assert [one["kind"] for one in firm.requests] == ["grant", "return", "grant"]  # and it is asked for again
    assert {one["period"] for one in firm.requests[:2]} == {"month:2026-02-01"}
    firm.answer()
    assert firm.budgets["budget:sms"].periods["month:2026-02-01"] == 0
    assert not firm.block().late


@pytest.mark.parametrize("limit", ["0.20 CNY", "3 CNY"])
def test_with_another_limit_blocks_are_given_back_and_what_was_spent_counts(limit: str):
    firm = Firm(plan(MONTH), partitions=2)
    for number in range(8):
        firm.log_in(f"c{number}", at(0) + number, number % 2)
        firm.answer()
    assert firm.spent == {"sms": 40}
    firm.plan = firm.granters_plan = plan(MONTH.replace("1 CNY", limit))
    for number in range(8, 80):
        firm.log_in(f"c{number}", at(0.1) + number, number % 2)
        firm.answer()
        firm.answer()
    most = {"0.20 CNY": 40, "3 CNY": 300}[limit]
    assert firm.spent["sms"] == most
    assert firm.granted() == most


def test_no_more_is_granted_than_by_both_rule_sets_while_they_differ():
    firm = Firm(plan(MONTH), partitions=1)
    firm.granters_plan = plan(MONTH.replace("1 CNY", "0.10 CNY"))
    firm.log_in("c1", at(0))
    (answer,) = firm.answer()
    assert (answer["amount"], answer["limit"]) == (5, 10)
    firm.granters_plan = plan("")
    firm.plan = plan(MONTH.replace("1 CNY", "2 CNY"))
    firm.log_in("c2", at(0.1))
    (answer,) = firm.answer()
    assert (answer["outcome"], answer["limit"]) == ("nothing", 0)
    assert not firm.block().refused  # it is not known there yet: nobody says that nothing is left
    assert (firm.outcomes["no_budget"], firm.waiting) == (0, [])  # and it is not asked again at once
    firm.granters_plan = firm.plan
    client = firm.states[0]["c2"]
    firm.decide(0, Due("c2", client.due_ms), client.due_ms)
    firm.answer()
    assert len(firm.sent) == 2


def test_a_budget_that_the_rules_drop_is_given_back_and_forgotten():
    firm = Firm(plan(MONTH), partitions=1)
    firm.log_in("c1", at(0))
    firm.answer()
    firm.plan = plan("")
    firm.log_in("c2", at(0.1))
    assert firm.requests[-1]["kind"] == "return"
    firm.answer()
    assert firm.granted() == 5
    assert firm.paces[0].kept == {}
    assert len(firm.sent) == 2


def test_what_is_given_back_is_in_one_order_whether_the_position_was_read_or_grew():
    """A position that was read has its keys sorted; the replay of a ledger goes on from what grew."""
    first = [
        (name, Block("2026-01", at(1), 100, left=3, last=f"{name}-1", asked=("c1", 5, 1))) for name in ("push", "all")
    ]
    told = []
    for blocks in (first, first[::-1]):
        pace = Pace()
        for name, block in blocks:
            pace.keep(name, block)
        told.append(rates.settle({}, pace, at(0)))
    assert told[0] == told[1]
    assert len(told[0]) == 2


def test_costs_by_channel_by_the_rule_and_by_number():
    policy = """\
budgets:
  contact: {limit: 90 CNY, of: {channel: [sms, email]}, cost: {sms: 0.05 CNY, email: 0 CNY}}
  gifts: {limit: 100 CNY, of: {campaign: autumn}}
  offers: {limit: 2, per: day, of: {tag: offer}}
"""
    gift = rule("gift", channels="[sms]", campaign="autumn", tags="[offer]", cost="12 CNY", cooldown="1m")
    mail = rule("mail", channels="[email]", cooldown="1m")
    firm = Firm(plan(policy, gift, mail), partitions=1)
    for number in range(4):
        firm.log_in(f"c{number}", at(0) + number)
        firm.answer()
    for client in firm.states[0].values():
        if client.waiting:
            firm.decide(0, Due(client.client_id, at(0) + 10_000), at(0) + 10_000)
    sent = Counter(one["rule_id"] for one in firm.sent)
    assert sent == {"mail": 4, "gift": 2}
    assert firm.spent == {"contact": 2 * 1200, "gifts": 2 * 1200, "offers": 2}
    assert firm.block("contact").period == "once:"
    assert firm.block("contact").until_ms == NEVER_MS


def test_what_is_exempt_or_free_asks_nothing():
    classes = "classes: {law: {exempt: [budgets]}, service: {}}\n"
    law = rule("law", channels="[sms]", cooldown="1m", **{"class": "law"})
    firm = Firm(plan(classes + MONTH, law))
    firm.log_in("c1", at(0))
    free = Firm(plan(MONTH.replace("0.05", "0")))
    free.log_in("c1", at(0))
    assert len(firm.sent) == len(free.sent) == 1
    assert firm.requests == free.requests == []
    assert firm.paces[0].kept == {}


def test_a_past_is_replayed_with_answers_at_once():
    timeline = Timeline(plan(MONTH.replace("1 CNY", "0.20 CNY")), {}, {})
    sent, outcomes = [], Counter[str]()
    for number in range(6):
        for topic, event in (
            profile(at(0) + number, f"c{number}", consents=("sms",)),
            login(at(0.1) + number, f"c{number}"),
        ):
            for decided in timeline.take(topic, event):
                sent += [json.loads(m.value)["client_id"] for m in decided.messages if m.topic == "messages"]
                outcomes.update(str(outcome) for _, outcome in decided.outcomes.elements())
    assert sent == ["c0", "c1", "c2", "c3"]
    assert outcomes["no_budget"] == 2
    assert timeline.budgets["budget:sms"].granted == 20


# -- a budget by itself ------------------------------------------------------------------------------------------------


def asked(amount: int, least: int = 1, limit: int = 100, period: str = "month:2026-02-01") -> Part:
    return Part(period, amount, least, limit)


def test_a_part_is_at_least_what_is_needed_and_leaves_room_for_others():
    budget = BudgetState("budget:b", 0)
    given = [grant(budget, f"r{n}", asked(1_000, 7), 100, 4).amount for n in range(9)]
    assert given == [12, 11, 9, 8, 7, 7, 7, 7, 7]
    while (part := grant(budget, f"s{len(budget.answers)}", asked(1_000, 7), 100, 4)).amount:
        assert part.amount == 7
    assert budget.granted > 93
    assert grant(budget, "small", asked(1_000), 100, 4).amount == 1  # of what is left


def test_an_answer_is_the_same_again_and_what_is_given_back_counts_once():
    budget = BudgetState("budget:b", 0)
    first = grant(budget, "r", asked(10), 100, 1)
    assert grant(budget, "r", asked(10), 100, 1) == first
    assert budget.granted == 10
    for _ in range(2):
        give_back(budget, "back", first.period, 4)
    assert budget.granted == 6


def test_a_period_that_is_forgotten_is_granted_nothing():
    budget = BudgetState("budget:b", 0)
    for day in range(granting.MAX_PERIODS + 2):
        assert grant(budget, f"r{day}", asked(50, period=f"day:20{day + 10}-01-01"), 100, 1).amount == 50
    assert len(budget.periods) == granting.MAX_PERIODS
    assert grant(budget, "old", asked(50, period="day:2010-01-01"), 100, 1).amount == 0
    assert grant(budget, "new", asked(50, period="day:2012-01-01"), 100, 1).amount == 25


def test_the_state_of_a_budget_is_no_pool():
    rules = plan(MONTH)
    firm = Firm(rules)
    firm.log_in("c1", at(0))
    firm.answer()
    state = firm.budgets["budget:sms"]
    packed = ASSIGNMENT.pack(rules, state)
    again = ASSIGNMENT.unpack(rules, packed)
    assert isinstance(again, BudgetState)
    assert ASSIGNMENT.pack(rules, again) == packed
    written = ASSIGNMENT.write(again, packed)
    assert (written.key, written.due_ms, written.public["granted"]) == ("budget:sms", NEVER_MS, "25")
    newer = packed.replace(b"\x94\x01", b"\x94\x02", 1)
    with pytest.raises(Exception, match="version 2"):
        ASSIGNMENT.unpack(rules, newer)


BUDGET_OF_VERSION_1 = (  # 25 fen of February, granted to one request
    "9401a6627564676574aa6275646765743a736d7383a16ecf0000019c3d0cd400a17081b06d6f6e74683a323032362d30322d303119a16181a172"
    "94b06d6f6e74683a323032362d30322d303119 0564"
)


def test_a_budget_of_the_first_version_is_read():
    budget = granting.unpack(bytes.fromhex(BUDGET_OF_VERSION_1))
    assert (budget.name, budget.periods) == ("budget:sms", {"month:2026-02-01": 25})
    assert budget.answers == {"r": Part("month:2026-02-01", 25, 5, 100)}
