"""Why a rule fires for a client, or does not: its condition term by term, and what would change the answer.

Enters: a Plan, a rule, the client at a moment, the event and tier change of that moment if there are. Leaves: an
Explanation.
Holds: every term is a part of the condition's own text, checked and compiled as the whole is; a change that is named
has been tried on the compiled condition. Without the event its terms are open, and so may be the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from engine.core.client import accounts, consents, overrides
from engine.core.client.items import ABOUT, ITEM_STATES, KEY, OVER, STATE, TAKEN, is_cared_for, noted
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.decide.messages import whose
from engine.core.decide.occasions import first_step
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.learn.care import upcoming
from engine.core.learn.items import waiting_for
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.plan.features import Reach
from engine.core.policy import holding
from engine.core.policy.gates import Hold, Send, Suppress, Verdict, judge
from engine.core.policy.match import FOLLOWS, NOT_KNOWN, Match
from engine.core.policy.rates import Funds, Payment, payments, told_of
from engine.core.rules.names import PERSONAL
from engine.core.rules.occasion import Becomes, Sequence, Silence, Trigger, Unanswered
from engine.core.rules.ruleset import Rule
from engine.insight.flips import Flip, Flipper
from engine.insight.preview import led
from engine.insight.terms import Joins, Part, Reading, parts_of
from engine.insight.values import duration, firm_time, shown

Look = Callable[[Trigger, ClientState, Any, Any], None]  # trigger, client, event, tier change
OPEN: Final = "not known before it comes"
OF_ACCOUNTS: Final = (  # in the order of accounts.totals
    *("client.assets_cny", "client.cash_cny", "client.margin_ratio"),
    *("balance.assets_cny", "balance.cash_cny", "balance.margin_ratio"),
)


@dataclass(frozen=True, slots=True)
class Value:
    """A name, or a part that is calculated, with what it is now, and what it was made from: by a definition, a table,
    accounts.
    """

    text: str
    shown: str
    description: str = ""
    row: str = ""  # of a table: the row that gave it
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a condition that is true or false; `holds` is None when it depends on an event that is not given."""

    text: str
    offset: int  # where it stands in the condition's text
    joins: Joins  # how its parts make it; a definition has one part, what it stands for
    holds: bool | None
    values: tuple[Value, ...] = ()  # of a term that has no parts
    parts: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    rule: Rule
    trigger: Trigger
    now_ms: int
    term: Term
    flips: tuple[Flip, ...]  # the smallest change first; one for each name that can do it alone
    all_tried: bool  # no other name can do it alone
    stopped: Outcome | None  # what of the contact policy would stop it now
    channel: str
    audience: str  # who acts: the team, in place of an advisor whom the client does not have
    owner: str  # the department whose team it is
    until_ms: int | None  # when what stops it ends, if that is known
    told: tuple[tuple[str, Any], ...]  # the numbers of what would stop it
    decided: str  # by whom and why, if staff or the client stop it
    short: tuple[str, ...]  # the features it reads of which a part of the past is not known, and how much is
    paid: tuple[Payment, ...]  # by budgets, where they were asked and nothing else stops it
    standing: str  # what the rule waits for, or has seen, when that is not an event alone
    open: tuple[str, ...]  # the names of an event that is not given, when the answer depends on them


class Explainer:
    """Explains rules of one plan; keeps what it compiles. Without `funds` budgets are not asked."""

    def __init__(self, plan: Plan, funds: Funds | None = None) -> None:
        self.plan = plan
        self.funds = funds
        self._parts: dict[tuple[str, Trigger], Part] = {}
        self._flippers: dict[tuple[str, Trigger], Flipper] = {}
        self._by_id: dict[Trigger, dict[str, CompiledRule]] = {}

    def part(self, rule: Rule, trigger: Trigger) -> Part:
        key = (rule.id, trigger)
        if key not in self._parts:
            self._parts[key] = parts_of(rule.when, self.plan.scopes[trigger], self.plan.rule_set.declared)
        return self._parts[key]

    def flipper(self, rule: Rule, trigger: Trigger) -> Flipper:
        key = (rule.id, trigger)
        if key not in self._flippers:
            scope, declared = self.plan.scopes[trigger], self.plan.rule_set.declared
            self._flippers[key] = Flipper(rule.when, scope, declared, trigger.about)
        return self._flippers[key]

    def _compiled(self, trigger: Trigger) -> dict[str, CompiledRule]:
        if trigger not in self._by_id:
            self._by_id[trigger] = {compiled.rule.id: compiled for compiled in self.plan.compiled[trigger]}
        return self._by_id[trigger]

    def explain(self, rule: Rule, trigger: Trigger, client: ClientState, event: Any, move: Any) -> Explanation:
        flipper = self.flipper(rule, trigger)
        if trigger.kind == "timeout" and (start_ms := client.waits.get(rule.id, 0)) > 0:
            kept = client.first_steps.get(rule.id, {})
            event = first_step(self.plan, client, self.plan.timed.waits[rule.id], start_ms, kept)
        lacking = event is None and move is None
        scope = self.plan.scopes[trigger]
        open_names = frozenset(n for n in flipper.names if lacking and scope[n].of != "client")
        term = _term(self.part(rule, trigger), client, event, move, open_names)
        compiled = self._compiled(trigger)[rule.id]
        verdict, paid = self._judged(client, Match(compiled, event, move))
        audience, owner, _ = whose(self.plan, rule, client)
        return Explanation(
            rule=rule,
            trigger=trigger,
            now_ms=client.now_ms,
            term=term,
            flips=() if open_names else flipper.flips(client, event, move),
            all_tried=flipper.complete,
            stopped=None if isinstance(verdict, Send) else verdict.reason,
            channel=verdict.channel,
            audience=audience,
            owner=owner,
            until_ms=None if isinstance(verdict, Send) else verdict.until_ms,
            told=() if isinstance(verdict, Send) else verdict.told,
            decided=_decided(self.plan, verdict, compiled, client),
            short=tuple(
                f"{name}: {_known(reach, client)}"
                for name, _ in compiled.why_names
                if (reach := self.plan.reaches.get(name)) is not None and not reach.is_known(client)
            ),
            paid=paid,
            standing="; ".join(
                filter(
                    None,
                    (
                        standing(self.plan, rule, client),
                        led(self.plan, rule, client),
                        *waiting(self.plan, rule, client),
                        *cared_for(self.plan, rule, client),
                    ),
                )
            ),
            open=tuple(dict.fromkeys(_asked(self.part(rule, trigger), term, open_names))),
        )

    def _judged(self, client: ClientState, match: Match) -> tuple[Verdict, tuple[Payment, ...]]:
        verdict = judge(self.plan, client, match)
        if self.funds is None or not isinstance(verdict, Send) or not match.compiled.budgets:
            return verdict, ()
        paid = payments(match, verdict.channel, self.funds, client.now_ms)
        short = next((one for one in paid if not one.is_covered), None)
        if short is not None:
            until_ms = short.until_ms if short.until_ms < NEVER_MS else None
            told = told_of(short.budget, short.period)
            verdict = Suppress(verdict.channel, Outcome.NO_BUDGET, until_ms, told)
        return verdict, paid


def _known(reach: Reach, client: ClientState) -> str:
    known, wanted = reach.known(client)
    return "not known from its beginning" if reach.window is None else f"{known} of {wanted} {reach.unit}s known"


def _decided(plan: Plan, verdict: Verdict, compiled: CompiledRule, client: ClientState) -> str:
    """Who stops or holds it, and why."""
    pause = plan.paused.get(compiled.rule.id)
    holds = isinstance(verdict, Hold) and verdict.why == holding.PAUSED
    if pause is not None and (holds or verdict.reason is Outcome.PAUSED):
        return f"paused since {firm_time(pause.since_ms)} by {pause.by}: {pause.why}"
    if not isinstance(verdict, Suppress):
        return ""
    rule, purpose = compiled.rule, compiled.contact_class.purpose
    if verdict.reason is Outcome.NO_CONSENT:
        told = {channel: consents.consent(client, channel, purpose) for channel in rule.channels}
        return "; ".join(f"{channel}: {consents.in_words(one, firm_time)}" for channel, one in told.items())
    kind = {Outcome.DO_NOT_CONTACT: overrides.DO_NOT_CONTACT, Outcome.SNOOZED: overrides.SNOOZE}.get(verdict.reason)
    for entry in overrides.shown(client.overrides):
        until_ms = NEVER_MS if entry.until_ms is None else entry.until_ms
        meant = entry.kind == kind and entry.rule_id in (None, rule.id) and not entry.withdrawn
        if meant and entry.from_ms <= client.now_ms < until_ms and verdict.until_ms in (None, until_ms):
            return f"by {entry.by} at {firm_time(entry.said_ms)}: {entry.reason or 'no reason is known'}"
    return ""


def standing(plan: Plan, rule: Rule, client: ClientState) -> str:
    """Where the client stands with a rule that waits for time, in a sentence; empty for one on events alone."""
    match rule.occasion:
        case Silence() as silence:
            return _silent(rule.id, silence, client)
        case Unanswered() as unanswered:
            return _unanswered(plan, rule.id, unanswered, client)
        case Becomes() as becomes:
            return _held(rule.id, becomes, client)
        case Sequence() as sequence:
            return _waiting(rule.id, sequence, client)
    return ""


def waiting(plan: Plan, rule: Rule, client: ClientState) -> Iterable[str]:
    """Its actions that are held."""
    for held in client.waiting:
        if held[holding.RULE] == rule.id:
            if held[holding.WHY] == holding.THEN:
                yield _said_again(rule, held)
                continue
            why = held[holding.WHY].replace("_", " ")
            again = firm_time(max(holding.release_ms(plan, client, held), client.now_ms))
            resumed = ", or when it is resumed" if why == holding.PAUSED and rule.id in plan.paused else ""
            yield f"held since {firm_time(held[holding.SINCE_MS])} ({why}), decided again at {again}{resumed}"


def cared_for(plan: Plan, rule: Rule, client: ClientState) -> Iterable[str]:
    """What it sent that nobody has taken up, or seen to: the steps so far, and the next."""
    for item in client.items:
        if item[ABOUT] != rule.id or not is_cared_for(item) or item[STATE] in OVER or rule.id not in plan.timed.cared:
            continue
        had = f"had {', '.join(noted(item)[TAKEN])}; " if noted(item)[TAKEN] else ""
        due = [f"{name} at {firm_time(due_ms)}" for due_ms, name in upcoming(plan, item)]
        stands = "its clock stands" if care_left(rule, item) else "no step is left"
        yield f"{item[KEY]} is {ITEM_STATES[item[STATE]].replace('_', ' ')}: {had}{', '.join(due) or stands}"


def care_left(rule: Rule, item: list[Any]) -> bool:
    """Whether it has not had all steps."""
    return rule.care is not None and any(at.name not in noted(item)[TAKEN] for at in rule.care.steps)


def _said_again(rule: Rule, held: list[Any]) -> str:
    """What was sent, and what becomes of it."""
    _, used = held[FOLLOWS]
    left = " or ".join(channel for channel in (rule.then.channels if rule.then else ()) if channel not in used)
    unless = f", or at {firm_time(held[holding.RELEASE_MS])} if nobody has opened it" * bool(holding.left(rule, held))
    return f"sent by {used[-1]}: sent by {left or 'no other channel'} if that fails{unless}"


def _silent(rule_id: str, silence: Silence, client: ClientState) -> str:
    last_ms = client.activities[silence.source].last_ms
    what = f"silence of {silence.source} for {duration(silence.days * DAY_MS)}"
    if last_ms is None:
        return f"{what}: not begun, there were none yet"
    if client.silenced.get(rule_id) == last_ms:
        return f"{what}: seen already; begins anew with the next"
    return f"{what}: since {firm_time(last_ms)}, complete at {firm_time(last_ms + silence.days * DAY_MS)}"


def _unanswered(plan: Plan, rule_id: str, unanswered: Unanswered, client: ClientState) -> str:
    lengths = [f"{duration(for_s * 1000)} ({severity})" for severity, for_s in unanswered.by_severity]
    within = ", ".join([*lengths, duration(unanswered.for_s * 1000)])
    answer = {"answered": "an answer to", "acknowledged": "a word on", "closed": "the end of"}[unanswered.until]
    hours = " of business hours" if unanswered.hours == "business" else ""
    what = f"{answer} {unanswered.of} within {within}{hours}"
    due = waiting_for(plan, client, rule_id)
    if not due:
        return f"waits for {what}: none is open without one, or each was seen already"
    said = [f"{item.id}, opened at {firm_time(item.since_ms)}, due at {firm_time(due_ms)}" for due_ms, item in due[:3]]
    more = f" and {len(due) - 3} more" if len(due) > 3 else ""
    return f"waits for {what}: {'; '.join(said)}{more}"


def _held(rule_id: str, becomes: Becomes, client: ClientState) -> str:
    since_ms, acted_ms = client.held.get(rule_id, (None, 0))
    if since_ms is None:
        return "the condition did not hold when it was last evaluated"
    said = f"the condition holds since {firm_time(since_ms)}"
    if acted_ms and becomes.repeat_s:
        return f"{said}; the rule acted at {firm_time(acted_ms)}, again every {duration(becomes.repeat_s * 1000)}"
    if acted_ms:
        return f"{said}; the rule acted at {firm_time(acted_ms)}, again when it has been false meanwhile"
    return f"{said}; the rule acts at {firm_time(since_ms + becomes.for_s * 1000)}"


def _waiting(rule_id: str, sequence: Sequence, client: ClientState) -> str:
    start_ms = abs(client.waits.get(rule_id, 0))
    if not start_ms:
        return f"the first step, on {sequence.first.on}, has not come: {sequence.first.when.text}"
    until = firm_time(start_ms + sequence.within_s * 1000)
    then = f"{sequence.then.on}: {sequence.then.when.text}"
    return f"the first step came at {firm_time(start_ms)}; until {until} it waits for {then}"


def watched(plan: Plan, look: Look) -> Plan:
    """The same plan, which calls `look` each time before it evaluates rules."""
    return replace(
        plan, match={trigger: match.watched(partial(look, trigger)) for trigger, match in plan.match.items()}
    )


def reached(part: Part, client: ClientState, event: Any, move: Any) -> Iterable[tuple[Part, bool]]:
    """The terms that decide, read from left to right as they would be, each with whether it holds."""
    yield part, bool(part.read(client, event, move))
    if part.joins in ("and", "or"):
        for inner in part.parts:
            yield from reached(inner, client, event, move)
            if bool(inner.read(client, event, move)) == (part.joins == "or"):
                break
    elif part.joins == "not":
        yield from reached(part.parts[0], client, event, move)
    elif part.joins == "if":
        test, body, orelse = part.parts
        yield from reached(test, client, event, move)
        yield from reached(body if test.read(client, event, move) else orelse, client, event, move)


def _term(part: Part, client: ClientState, event: Any, move: Any, open_names: frozenset[str]) -> Term:
    parts = tuple(_term(inner, client, event, move, open_names) for inner in part.parts)
    if part.reads & open_names:
        holds = _certain(part.joins, [inner.holds for inner in parts])
    else:
        holds = bool(part.read(client, event, move))
    values = tuple(_value(reading, client, event, move, open_names) for reading in part.readings)
    return Term(part.text, part.offset, part.joins, holds, values, parts)


def _asked(part: Part, term: Term, open_names: frozenset[str]) -> Iterable[str]:
    """The names that leave the answer open."""
    if term.holds is not None:
        return
    inner = [name for pair in zip(part.parts, term.parts, strict=True) for name in _asked(*pair, open_names)]
    yield from inner or sorted(part.reads & open_names)


def _certain(joins: Joins, parts: list[bool | None]) -> bool | None:
    """The answer, if it does not depend on the parts that are still open."""
    if joins == "and" and False in parts:
        return False
    if joins == "or" and True in parts:
        return True
    if joins == "not" and parts[0] is not None:
        return not parts[0]
    return parts[0] if joins == "is" else None


def value_of(reading: Reading, client: ClientState) -> Value:
    """Of what is known of the client alone."""
    return _value(reading, client, None, None, frozenset())


def _value(reading: Reading, client: ClientState, event: Any, move: Any, open_names: frozenset[str]) -> Value:
    values = tuple(_value(inner, client, event, move, open_names) for inner in reading.made_of)
    if reading.reads & open_names:
        return Value(reading.text, OPEN, reading.description, "", values)
    value = reading.read(client, event, move)
    if reading.text in client.unknown_until or any(inner.shown == NOT_KNOWN for inner in values):
        return Value(reading.text, NOT_KNOWN, reading.description, "", values)
    said = PERSONAL if reading.personal and value is not None else shown(value, reading.type)
    row = ""
    if reading.table is not None and not reading.personal:
        row = reading.table.hit_by([inner.read(client, event, move) for inner in reading.made_of])
    if reading.text in OF_ACCOUNTS and client.accounts:
        values = _by_account(client, OF_ACCOUNTS.index(reading.text) % 3, value, reading)
    return Value(reading.text, said, reading.description, row, values)


def _by_account(client: ClientState, place: int, value: Any, reading: Reading) -> tuple[Value, ...]:
    """The accounts of which it is the sum, or the lowest; none for a balance that came late: they were others then."""
    if value is None or accounts.totals(client.accounts)[place] != value:
        return ()
    told = ((name, account[accounts.ASSETS + place]) for name, account in client.accounts.items())
    return tuple(Value(f"account {name}", shown(each, reading.type)) for name, each in told if each is not None)


def failing(term: Term, wanted: bool = True) -> list[Term]:
    """The smallest terms that keep the whole from being `wanted`."""
    if term.holds in (wanted, None):  # what is open does not keep the whole from anything
        return []
    if term.joins == "not" and term.parts[0].parts:
        return failing(term.parts[0], not wanted)
    if term.joins in ("and", "or", "is"):
        return [inner for part in term.parts for inner in failing(part, wanted)]
    return [term]
