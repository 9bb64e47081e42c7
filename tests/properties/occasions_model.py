"""What docs/rules.md says of rules that wait, done slowly: one client's time is stepped through every moment at which
anything could happen, each rule is looked at in each of them, and nothing is skipped or kept for later.

Enters: a plan, one client's events in the order in which they come. Leaves: (rule id, milliseconds) of every look at
which a rule fires, before the contact policy.
Holds: of the engine it uses the values of names, from a plan without rules, and the code of one expression; not its
timers, wakes, matchers, calendars or noted state.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from engine.core.client.state import ClientState
from engine.core.decide.path import Due, Input, decide
from engine.core.language.expressions import Expression, Scope, to_python
from engine.core.plan.codegen import Code
from engine.core.plan.compile import Plan
from engine.core.rules.business_days import BusinessCalendar
from engine.core.rules.occasion import ITEM_STEP, Becomes, BeforeMaturity, Calendar, Sequence, Silence, Unanswered, on
from engine.core.rules.ruleset import Rule
from engine.core.rules.tables import list_globals
from tests.core.making import event_of, topic_of

STATES = {"opened": "opened", "reopened": "opened", "answered": "answered", "resolved": "closed", "withdrawn": "closed"}
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EAST = 8 * HOUR

Fired = list[tuple[str, int]]
Holds = Callable[[Any, Any, Any], bool]


class Model:
    """One client under one rule set. `values` is the same rule set without its rules."""

    def __init__(self, plan: Plan, values: Plan) -> None:
        self.rules = plan.rule_set.rules
        self.days = plan.rule_set.calendar
        self.values = values
        self.code = {rule.id: compiled(plan, rule.when, plan.scopes[rule.triggers[0]]) for rule in self.rules}
        self.first: dict[str, Holds] = {}
        self.then: dict[str, Holds] = {}
        for rule in self.rules:
            if isinstance(rule.occasion, Sequence):
                first, then = rule.occasion.first, rule.occasion.then
                self.first[rule.id] = compiled(plan, first.when, plan.scopes[on(first.on)])
                self.then[rule.id] = compiled(plan, then.when, plan.scopes[on(then.on)])
        self.states: dict[str, ClientState] = {}
        self.fired: Fired = []
        self.now = 0
        self.bases: set[int] = set()  # whole days are counted from these
        self.last: dict[str, int] = {}  # topic -> its last event
        self.true_since: dict[str, int] = {}
        self.acted: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.ends_at: dict[str, int] = {}  # when what is waited for ends
        self.silent_at: dict[str, int] = {}  # rule -> when its silence is complete
        self.holdings: list[list[Any]] = []  # day, symbol, fen, quantity
        self.steps: dict[str, list[tuple[int, str]]] = {}  # complaint -> time and status of each, as they came
        self.heard: set[tuple[str, str, int]] = set()  # rule, complaint, since when: seen without an answer
        self.overdue_at: dict[tuple[str, str], int] = {}  # rule, complaint -> when that is
        self.runs: dict[str, Counter[str]] = {}  # complaint -> how often it came to each state

    def run(self, history: list[Input], end: int) -> Fired:
        for item in history:
            time = event_of(item).time
            if self.states:
                self.pass_time(time)
            self.now = max(self.now, time)
            self.take(item)
        self.pass_time(end)
        return self.fired

    @property
    def client(self) -> ClientState:
        return next(iter(self.states.values()))

    # -- events ---------------------------------------------------------------------------------------------------

    def take(self, item: Input) -> None:
        topic, event = topic_of(item), event_of(item)
        decide(self.values, self.states, [item])
        self.bases |= {self.now, self.client.tier_since_ms or self.now}
        self.bases.add(event.time)
        last = self.last.get(topic)
        self.last[topic] = event.time if last is None else max(last, event.time)
        if self.last[topic] != last:
            for rule in self.rules:
                if isinstance(silence := rule.occasion, Silence) and silence.source == topic:
                    self.silent_at[rule.id] = max(self.last[topic] + silence.days * DAY, self.now + 1)
        if topic == "trades":
            if event.side == "sell":
                self.sell(event.symbol, event.quantity)
            elif event.matures_on and (day := dt.date.fromisoformat(event.matures_on)) >= date_of(self.now):
                self.holdings.append([day, event.symbol, event.amount_fen, event.quantity])
        for rule in self.rules:
            if isinstance(rule.occasion, Sequence):
                self.step(rule, rule.occasion, topic, event)
        if topic == "complaints":
            self.complain(event)
        self.look_at_conditions()

    def complain(self, event: Any) -> None:
        self.forget(event.complaint_id)
        self.steps.setdefault(event.complaint_id, []).append((event.time, event.status))
        status, since = self.state(event.complaint_id)
        for rule in self.rules:
            if isinstance(rule.occasion, Unanswered):
                self.overdue_at.pop((rule.id, event.complaint_id), None)
                if status in ("opened", "reopened") and (rule.id, event.complaint_id, since) not in self.heard:
                    moment = max(since + rule.occasion.for_s * 1000, self.now + 1)
                    self.overdue_at[rule.id, event.complaint_id] = moment
        self.hear(event.complaint_id)

    def forget(self, complaint: str) -> None:
        """What was closed is remembered for a week, and to the end of that day."""
        if complaint in self.steps and STATES[self.state(complaint)[0]] == "closed":
            last = max(time for time, _ in self.steps[complaint])
            if date_of(last + 7 * DAY) < date_of(self.now):
                del self.steps[complaint]
                self.runs.pop(complaint, None)

    def hear(self, complaint: str) -> None:
        """Of each state that the complaint has come to once more, by all its steps in the order of time."""
        told = [status for _, status in sorted(self.steps[complaint], key=lambda step: step[0])]
        states = [STATES[status] for status in told]
        runs = Counter(state for state, _ in groupby(states))
        since = self.state(complaint)[1] or max(time for time, _ in self.steps[complaint])
        for state, times in (runs - self.runs.get(complaint, Counter())).items():
            item = SimpleNamespace(kind="complaint", id=complaint, step=state, since_ms=since)
            item.days = (self.now - since) // DAY
            for rule in self.rules:
                for _ in range(times if ITEM_STEP in rule.triggers else 0):
                    self.look(rule, item)
        self.runs[complaint] = runs

    def state(self, complaint: str) -> tuple[str, int]:
        """The last status, of equal times the one that came last; and the last time that it was opened."""
        steps = self.steps[complaint]
        _, _, status = max((time, number, status) for number, (time, status) in enumerate(steps))
        return status, max((time for time, status in steps if status in ("opened", "reopened")), default=0)

    def sell(self, symbol: str, quantity: int) -> None:
        """One unit after the other, of what ends first."""
        for held in sorted((held for held in self.holdings if held[1] == symbol), key=lambda held: held[:3]):
            sold = min(quantity, held[3])
            held[2] = held[2] * (held[3] - sold) // held[3]
            held[3] -= sold
            quantity -= sold
        self.holdings = [held for held in self.holdings if held[3] > 0]

    def step(self, rule: Rule, sequence: Sequence, topic: str, event: Any) -> None:
        second = sequence.then.on == topic and self.then[rule.id](self.client, event, None)
        if second and rule.id in self.waiting and event.time >= self.waiting[rule.id]:
            start = self.waiting.pop(rule.id)
            if not sequence.absent and event.time < start + sequence.within_s * 1000:
                self.look(rule, event)
        first = sequence.first.on == topic and self.first[rule.id](self.client, event, None)
        if first and not (sequence.absent and rule.id in self.waiting):
            self.waiting[rule.id] = max(event.time, self.waiting.get(rule.id, 0))
            self.ends_at[rule.id] = max(self.waiting[rule.id] + sequence.within_s * 1000, self.now + 1)

    # -- time -----------------------------------------------------------------------------------------------------

    def pass_time(self, until: int) -> None:
        """Every moment up to `until`, each before an event that comes at it."""
        while (moment := min(self.moments())) <= until:
            self.now = moment
            decide(self.values, self.states, [Due(self.client.client_id, moment)])
            self.client.advance(self.values.layout, moment)
            self.bases.add(self.client.tier_since_ms or moment)
            for rule in self.rules:
                self.look_at_the_time(rule)
            self.look_at_conditions()

    def moments(self) -> Iterator[int]:
        """The next moment of each kind at which anything can happen."""
        yield (self.now // HOUR + 1) * HOUR  # midnights too
        yield from (base + ((self.now - base) // DAY + 1) * DAY for base in self.bases)
        for rule in self.rules:
            if isinstance(rule.occasion, Calendar | BeforeMaturity):
                minute = rule.occasion.minute * MINUTE - EAST
                yield minute + ((self.now - minute) // DAY + 1) * DAY
            if self.silent_at.get(rule.id, 0) > self.now:
                yield self.silent_at[rule.id]
            if rule.id in self.waiting:
                yield self.ends_at[rule.id]
            yield from (moment for (id_, _), moment in self.overdue_at.items() if id_ == rule.id)
            for start, length in self.lengths(rule):
                if start + length > self.now:
                    yield start + length

    def lengths(self, rule: Rule) -> Iterator[tuple[int, int]]:
        if isinstance(rule.occasion, Becomes) and rule.id in self.true_since:
            yield self.true_since[rule.id], rule.occasion.for_s * 1000
            if rule.id in self.acted:
                yield self.acted[rule.id], rule.occasion.repeat_s * 1000

    def look_at_the_time(self, rule: Rule) -> None:
        match rule.occasion:
            case Silence():
                if self.now == self.silent_at.get(rule.id):
                    self.look(rule)
            case Unanswered():
                for (id_, complaint), moment in [*self.overdue_at.items()]:
                    if id_ == rule.id and moment == self.now:
                        del self.overdue_at[id_, complaint]
                        since = self.state(complaint)[1]
                        self.heard.add((id_, complaint, since))
                        days = (self.now - since) // DAY
                        self.look(rule, SimpleNamespace(kind="complaint", id=complaint, since_ms=since, days=days))
            case Sequence(absent=absent) if rule.id in self.waiting:
                if self.now == self.ends_at[rule.id]:
                    del self.waiting[rule.id]
                    if absent:
                        self.look(rule)
            case BeforeMaturity(before_days=before_days) as when if at_time(when, self.now):
                for day, symbol, amount_fen, _ in sorted(self.holdings):
                    if date_of(self.now) + dt.timedelta(before_days) == day:
                        self.look(rule, SimpleNamespace(symbol=symbol, amount_fen=amount_fen, days=before_days))
            case Calendar() as when:
                today, born = date_of(self.now), self.client.birth_date
                if at_time(when, self.now) and on_day(when, today, born, self.days):
                    self.look(rule)

    def look_at_conditions(self) -> None:
        for rule in self.rules:
            if not isinstance(becomes := rule.occasion, Becomes):
                continue
            if not self.code[rule.id](self.client, None, None):
                self.true_since.pop(rule.id, None)
                self.acted.pop(rule.id, None)
                continue
            since = self.true_since.setdefault(rule.id, self.now)
            acted, repeat = self.acted.get(rule.id), becomes.repeat_s * 1000
            if self.now >= since + becomes.for_s * 1000 if acted is None else repeat and self.now >= acted + repeat:
                self.acted[rule.id] = self.now
                self.fire(rule)

    def look(self, rule: Rule, event: Any = None) -> None:
        if self.code[rule.id](self.client, event, None):
            self.fire(rule)

    def fire(self, rule: Rule) -> None:
        self.fired.append((rule.id, self.now))


def compiled(plan: Plan, expression: Expression, scope: Scope) -> Holds:
    code = Code()
    code.constants |= list_globals(plan.rule_set.lists)
    code.function("holds", "c, e, t", [f"return {code.place(to_python(expression, scope))}"])
    holds: Holds = code.run()["holds"]
    return holds


def firm(moment: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=moment + EAST)


def date_of(moment: int) -> dt.date:
    return firm(moment).date()


def at_time(when: Calendar | BeforeMaturity, moment: int) -> bool:
    return (moment + EAST) % DAY == when.minute * MINUTE


def on_day(when: Calendar, today: dt.date, birth_date: str | None, days: BusinessCalendar | None) -> bool:
    """Whether the calendar names this day."""
    if when.every in ("trading_day", "working_day"):
        assert days is not None
        day, weekend = today.isoformat(), today.strftime("%a") in ("Sat", "Sun")
        if not days.first_day <= day <= days.last_day:
            return not weekend
        if when.every == "working_day":
            return day in days.workdays or not (weekend or day in days.holidays)
        return not (weekend or day in days.holidays or day in days.closed)
    if when.every == "birthday":
        if birth_date is None:
            return False
        born = dt.date.fromisoformat(birth_date)
        named = today + dt.timedelta(when.before_days)
        return named.month == born.month and named.day == min(born.day, days_in_month(named))
    if when.every == "week":
        return today.isoweekday() == when.day
    months = {"day": (), "month": range(1, 13), "quarter": (1, 4, 7, 10), "year": (when.month,)}[when.every]
    return when.every == "day" or (today.month in months and today.day == min(when.day, days_in_month(today)))


def days_in_month(day: dt.date) -> int:
    return calendar.monthrange(day.year, day.month)[1]
