"""What docs/journeys.md says, done slowly: at every moment at which anything could happen it is asked what ends the
journey, and then what leads on.

Enters: a plan with one journey, one client's events in the order in which they come. Leaves: (what, milliseconds) of
each beginning, act and end. Holds: of the engine it uses what occasions_model.py uses, and where journeys are declared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from engine.core.decide.path import Due, Input, decide
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import Act, Branch, Calendar, Ends, OnEvents, Split, Waits, on
from engine.core.rules.ruleset import Rule
from tests.core.making import event_of, topic_of
from tests.properties.occasions_model import DAY, EAST, MINUTE, Holds, Model, at_time, compiled, date_of, on_day

FARTHEST = 800  # days in which a time of the calendar comes, if it does


class JourneyModel(Model):
    def __init__(self, plan: Plan, values: Plan) -> None:
        super().__init__(plan, values)
        self.event: Input | None = None
        self.due_to_begin = False
        self.step = ""  # where the client stands; "" when it is in no journey
        self.entered = 0
        self.ended: int | None = None
        self.lead_by(plan)

    def lead_by(self, plan: Plan) -> None:
        """The rules of now."""
        (self.journey,) = plan.rule_set.journeys
        self.steps = self.journey.doing
        self.rules = plan.rule_set.rules
        scopes = plan.scopes
        self.code = {rule.id: compiled(plan, rule.when, scopes[rule.triggers[0]]) for rule in self.rules}
        self.ends = [(reason, compiled(plan, when, scopes[None])) for reason, when in self.journey.ends]
        self.tests: dict[str, list[Holds]] = {}
        for name, doing in self.steps.items():
            if isinstance(doing, Waits) and doing.when is not None:
                self.tests[name] = [compiled(plan, doing.when, scopes[on(doing.on)])]
            elif isinstance(doing, Waits) and doing.until is not None:
                self.tests[name] = [compiled(plan, doing.until, scopes[None])]
            elif isinstance(doing, Branch):
                self.tests[name] = [compiled(plan, when, scopes[None]) for when, _ in doing.ways]

    def edit(self, plan: Plan, now: int) -> None:
        """Other steps, goal and exits from now on; every client is asked once."""
        self.pass_time(now)
        self.lead_by(plan)
        self.now = now
        decide(self.values, self.states, [Due(self.client.client_id, now)])
        self.look_at_conditions()

    # -- when it is asked -----------------------------------------------------------------------------------------

    def take(self, item: Input) -> None:
        self.event = item
        super().take(item)
        self.event = None

    def look_at_conditions(self) -> None:
        """The last of what is done at each moment."""
        super().look_at_conditions()
        if self.event is not None:
            topic, event = topic_of(self.event), event_of(self.event)
            for rule in self.rules:
                if isinstance(rule.occasion, OnEvents) and on(topic) in rule.triggers:
                    self.look(rule, event)
        if self.step:
            self.go_on()
        if self.due_to_begin:
            self.due_to_begin = False
            self.begin()

    def fire(self, rule: Rule) -> None:
        """A journey does not begin on a day of which the calendar that it asks says nothing."""
        when, today = rule.occasion, date_of(self.now).isoformat()
        asks = isinstance(when, Calendar) and when.every in ("trading_day", "working_day") and self.days is not None
        unknown = asks and not self.days.first_day <= today <= self.days.last_day
        self.due_to_begin |= rule.id == self.journey.id and not unknown

    def moments(self) -> Iterator[int]:
        yield from super().moments()
        doing = self.steps.get(self.step)
        if isinstance(doing, Waits) and (due := self.over(doing)[0]) > self.now:
            yield due

    # -- what it comes to -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        again_s = self.journey.again_s
        if self.step or (self.ended is not None and (again_s is None or self.now < self.ended + again_s * 1000)):
            return
        if any(holds(self.client, None, None) for _, holds in self.ends):
            return
        self.fired.append((self.journey.id, self.now))
        self.lead(next(iter(self.steps)))

    def go_on(self) -> None:
        doing = self.steps.get(self.step)
        if not isinstance(doing, Waits):
            self.end("journey_changed")
            return
        for reason, holds in self.ends:
            if holds(self.client, None, None):
                self.end(reason)
                return
        due, following = self.over(doing)
        if doing.until is not None and self.tests[self.step][0](self.client, None, None):
            self.lead(doing.next)
        elif due <= self.now:
            self.lead(following)
        elif self.event is not None and topic_of(self.event) == doing.on:
            event = event_of(self.event)
            met = doing.when is None or self.tests[self.step][0](self.client, event, None)
            if met and event.time >= self.entered:
                self.lead(doing.next)

    def over(self, doing: Waits) -> tuple[int, str]:
        never = 1 << 62
        ends = self.entered + doing.timeout_s * 1000 if doing.timeout_s else never
        comes = never
        if doing.at is not None:
            comes = self.next_time(doing.at, self.entered + doing.for_s * 1000, inclusive=doing.for_s > 0)
        elif doing.for_s:
            comes = self.entered + doing.for_s * 1000
        return (comes, doing.next) if comes <= ends else (ends, doing.otherwise)

    def next_time(self, when: Calendar, after: int, *, inclusive: bool) -> int:
        midnight = (after + EAST) // DAY * DAY - EAST
        for day in range(FARTHEST):
            moment = midnight + day * DAY + when.minute * MINUTE
            late_enough = moment >= after if inclusive else moment > after
            if late_enough and on_day(when, date_of(moment), self.client.birth_date, self.days):
                assert at_time(when, moment)
                return moment
        return 1 << 62

    def lead(self, step: str) -> None:
        self.step = step
        while self.step:
            doing: Any = self.steps[self.step]
            if isinstance(doing, Waits):
                self.entered = self.now
                if doing.until is None or not self.tests[self.step][0](self.client, None, None):
                    return
                self.step = doing.next
            elif isinstance(doing, Act):
                rule_id = f"{self.journey.id}/{self.step}"
                if self.code[rule_id](self.client, None, None):
                    self.fired.append((rule_id, self.now))
                self.step = doing.next
            elif isinstance(doing, Branch):
                held = [holds(self.client, None, None) for holds in self.tests[self.step]]
                self.step = next(
                    (to for (_, to), holds in zip(doing.ways, held, strict=True) if holds), doing.otherwise
                )
            elif isinstance(doing, Split):
                self.step = drawn(doing, self.client.client_id)
            else:
                assert isinstance(doing, Ends)
                self.end(doing.reason)
                return
        self.end("completed")

    def end(self, reason: str) -> None:
        self.fired.append((f"ended {reason}", self.now))
        self.step, self.ended = "", self.now


def drawn(split: Split, client_id: str) -> str:
    digest = hashlib.blake2b(f"{split.lot}\0{client_id}".encode(), digest_size=6).digest()
    place = int.from_bytes(digest, "big") / 2**48
    total, below = sum(weight for _, weight in split.ways), 0
    for step, weight in split.ways:
        below += weight
        if place < below / total:
            return step
    raise AssertionError
