"""Budgets, judged by what was published and by the positions of partitions alone.

Enters: requests and answers as the topics have them, what each processor had read of them, each partition's blocks
from unit to unit, the states of budgets. Leaves: faults.
Holds: what was spent is counted from the actions that were published, what was granted from the topics; nothing of how
either is decided is asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.assign.budgets import unpack
from engine.core.pace import Block, Pace

Told = dict[str, Any]


class BudgetAudit:
    def __init__(
        self, requests: list[Told], answers: list[Told], unheard: list[Told], to_come: list[Told], read: set[str]
    ) -> None:
        """`requests` were read by their budgets, and stand in the order of each; `unheard` were not, when workers
        stopped. `answers` are all, `to_come` those of them that no partition has read; `read`: the ids of the others.
        """
        self.requests, self.answers, self.unheard, self.to_come = requests, answers, unheard, to_come
        self._read = read
        self.found: list[str] = []
        self.granted: dict[tuple[str, str], int] = defaultdict(int)  # by budget and period, without what was returned
        self.spent, self.left = Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    def answered(self) -> None:
        """Each request has one answer."""
        asked = Counter(one["request_id"] for one in self.requests if one["kind"] == "grant")
        answers = Counter(one["request_id"] for one in self.answers)
        returned = Counter(one["request_id"] for one in self.requests if one["kind"] == "return")
        self.found += [f"{name} gives back {times} times" for name, times in returned.items() if times > 1]
        self.found += [
            f"{name} was asked {asked[name]} times, has {answers[name]} answers"
            for name in asked | answers
            if asked[name] != answers[name]
        ]

    def limits(self) -> None:
        """In the order in which a budget took its requests: it grants no more than the limit that it answers with, and
        says that nothing is left only where less is left than is of use.
        """
        answer_to = {one["request_id"]: one for one in self.answers}
        for one in self.requests:
            key = one["client_id"].removeprefix("budget:"), one["period"]
            if one["kind"] == "return":
                self.granted[key] -= one["amount"]
                continue
            answer = answer_to.pop(one["request_id"], None)
            if answer is None:  # nothing was answered, or it was asked again
                continue
            self.granted[key] += answer["amount"]
            if answer["amount"] and self.granted[key] > min(answer["limit"], one["limit"]):
                self.found.append(f"{key} has {self.granted[key]} granted of {answer['limit']}")
            if answer["amount"] and answer["amount"] < one["least"]:
                self.found.append(f"{key} was granted {answer['amount']}, of which {one['least']} is the least use")
            if not answer["amount"] and answer["limit"] - self.granted[key] >= one["least"]:
                self.found.append(f"{key} has {self.granted[key]} granted of {answer['limit']}, and grants nothing")

    def blocks(self, number: int, paces: Iterable[Mapping[str, Any]]) -> None:
        """What a partition spent in each period, by the ends of its units."""
        before: dict[str, Block] = {}
        for kept in paces:
            pace = Pace(dict(kept))
            blocks = {name: block for name in pace.budgets() if (block := pace.block(name)) is not None}
            for name, block in blocks.items():
                if block.left < 0:
                    self.found.append(f"more of {name} was spent than was granted: {block}")
                had = before.get(name)
                known = had.spent if had is not None and had.period == block.period else 0
                self.spent[name, block.period] += block.spent - known
            before = blocks
        coming = {one["request_id"] for one in (*self.to_come, *self.unheard)}
        for name, block in before.items():
            self.left[name, block.period] += block.left
            if not coming.issuperset((*block.late, *filter(None, (block.request,)))):
                self.found.append(f"partition {number} still waits for an answer of {name}: {block}")

    def sums(self, states: Mapping[str, bytes]) -> None:
        """What is granted was spent, is left, or on its way; what the budget says is the same."""
        coming = {one["request_id"]: one for one in self.to_come if one["request_id"] not in self._read}
        for one in coming.values():
            self.left[one["budget"], one["period"]] += one["amount"]
        for one in self.unheard:
            if one["kind"] == "return":
                self.left[one["client_id"].removeprefix("budget:"), one["period"]] += one["amount"]
        for key in {*self.granted, *self.spent}:
            if self.granted[key] != self.spent[key] + self.left[key]:
                self.found.append(f"{key}: {self.granted[key]} granted, {self.spent[key]} spent, {self.left[key]} left")
        held = {
            (name.removeprefix("budget:"), period): n
            for name, state in states.items()
            for period, n in unpack(state).periods.items()
        }
        if held != {key: n for key, n in self.granted.items() if key in held}:
            self.found.append(f"budgets hold {held}, by the topics it would be {dict(self.granted)}")

    def paid(self, costs: Mapping[str, Mapping[str, int]], published: Iterable[Told]) -> None:
        """What was published cost what was spent. `costs`: of each budget, by channel."""
        paid = Counter[str]()
        for one in published:
            if one.get("audience") == "client":
                paid.update({name: of[one["channel"]] for name, of in costs.items() if one["channel"] in of})
        for name in costs:
            spent = sum(n for (budget, _), n in self.spent.items() if budget == name)
            if paid[name] != spent:
                self.found.append(f"actions cost {paid[name]} of {name}, {spent} was spent")
