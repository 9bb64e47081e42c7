"""The state of a budget: what of it was granted in each period; and who is granted how much.

Enters: requests for a part, what is given back, the limit. Leaves: the state, changed; answers, and its bytes.
Holds: what is granted and not given back of a period is at most its limit, by the rules of whoever asked and of whoever
grants; an answer is the same whenever it is asked for again, and what is given back counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgpack

from engine.core.assign.state import NewerPool
from engine.core.firm_time import NEVER_MS

VERSION: Final = 1
FORM: Final = b"\x94"  # an array of four; that of a pool has three
MAX_PERIODS: Final = 40  # the latest; older ones are granted nothing any more
MAX_ANSWERS: Final = 4_096


class Part(NamedTuple):
    """An answer: 0 if there is nothing left. `least` and `limit`: by what it was decided."""

    period: str
    amount: int
    least: int
    limit: int


class BudgetState:
    __slots__ = ("answers", "due_ms", "name", "now_ms", "periods")

    def __init__(self, name: str, now_ms: int) -> None:
        self.name = name  # its key
        self.now_ms = now_ms  # of the latest request
        self.due_ms = NEVER_MS  # nothing of it happens by itself
        self.periods: dict[str, int] = {}  # -> granted and not given back
        self.answers: dict[str, Part] = {}  # by request, the oldest first

    @property
    def period(self) -> str:
        """The latest."""
        return max(self.periods, key=_begins, default="")

    @property
    def granted(self) -> int:
        """In the latest period."""
        return self.periods.get(self.period, 0)


def _begins(period: str) -> str:
    """As in month:2026-11-01."""
    return period.partition(":")[2]


def grant(budget: BudgetState, request: str, asked: Part, limit: int | None, partitions: int) -> Part:
    """`asked.amount` is wanted. `limit`: by the rules of whoever grants; None if they have no such budget. Each of the
    partitions has room for two parts of what is left, so that late ones find something.
    """
    if request in budget.answers:
        return budget.answers[request]
    bound = 0 if limit is None else min(limit, asked.limit)
    left, amount = bound - budget.periods.get(asked.period, 0), 0
    if asked.least <= left and not _is_over(budget, asked.period):
        amount = min(left, max(asked.least, min(asked.amount, left // (2 * partitions))))
        budget.periods[asked.period] = budget.periods.get(asked.period, 0) + amount
        if len(budget.periods) > MAX_PERIODS:
            del budget.periods[min(budget.periods, key=_begins)]
    return _note(budget, request, Part(asked.period, amount, asked.least, bound))


def _is_over(budget: BudgetState, period: str) -> bool:
    """Whether it may be one that is forgotten."""
    if period in budget.periods or len(budget.periods) < MAX_PERIODS:
        return False
    return _begins(period) < min(map(_begins, budget.periods))


def give_back(budget: BudgetState, request: str, period: str, amount: int) -> None:
    """What a partition did not spend."""
    if request in budget.answers:
        return
    _note(budget, request, Part(period, -amount, 0, 0))
    if period in budget.periods:
        budget.periods[period] -= amount


def _note(budget: BudgetState, request: str, part: Part) -> Part:
    budget.answers[request] = part
    while len(budget.answers) > MAX_ANSWERS:
        del budget.answers[next(iter(budget.answers))]
    return part


def pack(budget: BudgetState) -> bytes:
    fields = {"n": budget.now_ms, "p": budget.periods, "a": budget.answers}
    packed: bytes = msgpack.packb([VERSION, "budget", budget.name, fields], use_bin_type=False)
    return packed


def unpack(packed: bytes) -> BudgetState:
    """Raises NewerPool when a newer release wrote it, ValueError and others when nothing of the engine's did."""
    version, _, name, fields = msgpack.unpackb(packed, raw=False)
    if version > VERSION:
        raise NewerPool(f"the state of a budget has version {version}, this engine reads up to {VERSION}")
    found: Mapping[str, Any] = fields
    budget = BudgetState(name, found["n"])
    budget.periods = dict(found["p"])
    budget.answers = {request: Part(*part) for request, part in found["a"].items()}
    return budget
