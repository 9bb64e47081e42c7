"""Explanations for people and for programs. Enters: an Explanation. Leaves: lines of text, or plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from engine.core.contract.message import cny, rfc3339
from engine.core.contract.outbound import Outcome
from engine.core.language.types import MONEY, number
from engine.core.policy.rates import Payment
from engine.core.rules.policy import Fen
from engine.insight.explain import Explanation, Term, Value, failing
from engine.insight.values import firm_time, shown

WIDTH: Final = 64  # of a term's column
MAX_FLIPS: Final = 4
ALWAYS: Final = "True"  # the condition of a rule that has none
MARKS: Final = {True: "yes", False: "no ", None: "?  "}
JOINED: Final = {"and": "all of", "or": "one of", "not": "not", "if": "the first if the second, else the third"}


def in_full(explanation: Explanation, with_flips: bool = True) -> Iterator[str]:
    """The condition term by term, what would change the answer, and what the contact policy says."""
    if explanation.standing:
        yield explanation.standing
    if explanation.term.text != ALWAYS:
        yield from term_lines(explanation.term)
    elif not explanation.standing:
        yield "it has no condition"
    yield from (f"  past of {short}" for short in explanation.short)
    if with_flips:
        yield from flip_lines(explanation)
    yield f"contact policy: {policy(explanation)}"
    yield from (f"  {paid(one)}" for one in explanation.paid)


def term_lines(term: Term, indent: str = "  ") -> Iterator[str]:
    mark = f"{indent}{MARKS[term.holds]}  "
    if term.joins == "is":
        yield f"{mark}{term.text}, which is"
        yield from term_lines(term.parts[0], indent + "     ")
    elif term.parts:
        yield f"{mark}{JOINED[term.joins]}"
        for part in term.parts:
            yield from term_lines(part, indent + "     ")
    else:
        said = [f"{value.text} is {value.shown}" for value in term.values if value.text != term.text]
        line = f"{mark}{term.text}"
        if said and len(line) <= WIDTH:
            yield f"{line:<{WIDTH}}  {'; '.join(said)}"
        else:
            yield line
            if said:
                yield f"{indent}       {'; '.join(said)}"
        for value in term.values:
            yield from _opened(value, indent + "       ")


def _opened(value: Value, indent: str) -> Iterator[str]:
    if value.values:
        made_of = "; ".join(f"{inner.text} is {inner.shown}" for inner in value.values)
        row = f", by the row {value.row}" if value.row else ""
        yield f"{indent}{value.text} comes from: {made_of}{row}"
        for inner in value.values:
            yield from _opened(inner, indent + "  ")


def flip_lines(explanation: Explanation) -> Iterator[str]:
    holds = explanation.term.holds
    if holds is None:
        yield in_short(explanation)
        return
    if explanation.flips:
        yield f"it would {'not hold' if holds else 'hold'} with one change, the smallest first:"
        yield from (f"  {flip}" for flip in explanation.flips[:MAX_FLIPS])
    elif explanation.term.text in (ALWAYS, "False"):
        return
    elif not explanation.all_tried:
        yield f"no change of one value alone was found that would make it {'false' if holds else 'hold'}"
    elif holds:
        yield "no change of one value alone would make it false"
    else:
        said = "; ".join(term.text for term in failing(explanation.term))
        yield f"no change of one value alone would make it hold; it fails at: {said}"


def policy(explanation: Explanation) -> str:
    rule = explanation.rule
    match explanation.stopped:
        case None if rule.audience == "client":
            return f"would let it pass, by {explanation.channel}"
        case None if explanation.audience != rule.audience:
            return f"would let it pass, to the team of {explanation.owner}: the client has no advisor"
        case None:
            return "would let it pass"
        case Outcome.COOLDOWN:
            return f"would stop it: cooldown until {firm_time(explanation.until_ms or 0)}"
        case Outcome.DO_NOT_CONTACT:
            return f"would stop it: not to be contacted{_until(explanation)}"
        case Outcome.SNOOZED:
            return f"would stop it: snoozed{_until(explanation)}"
        case Outcome.NO_CONSENT:
            return f"would stop it: no consent to {' or '.join(rule.channels)} ({explanation.decided})"
        case Outcome.EXPIRED:
            return "would stop it: its time to be delivered has passed"
        case Outcome.DAY_UNKNOWN:
            return "would stop it: its list of days, or the calendar, says nothing of the day in question"
        case Outcome.PAST_UNKNOWN:
            return f"would stop it: a part of the past is not known ({', '.join(explanation.short)})"
        case Outcome.NO_LONGER_TRUE:
            return "would stop it: it waited, and its condition does not hold any more"
        case Outcome.PAUSED:
            return f"would stop it: {explanation.decided}; as much waits as there is room for"
        case Outcome.HELD:
            return f"would hold it{_until(explanation)}"
        case Outcome.QUIET_HOURS:
            return f"would stop it: quiet hours{_numbers(explanation)}{_until(explanation)}"
        case Outcome.CAP:
            return f"would stop it: the client has had what a cap allows{_numbers(explanation)}{_until(explanation)}"
        case Outcome.NOT_WHILE:
            return f"would stop it: {explanation.rule.contact_class} is not sent meanwhile{_numbers(explanation)}"
        case Outcome.UNSUITABLE:
            return f"would stop it: what it offers does not suit the client{_numbers(explanation)}"
        case Outcome.CHANNEL_RESTS:
            return f"would stop it: the channel rests{_numbers(explanation)}{_until(explanation)}"
        case Outcome.REPEATED:
            return f"would stop it: the client has had the same text{_numbers(explanation)}{_until(explanation)}"
        case Outcome.NOT_ENTERED:
            return f"would not let it begin{_numbers(explanation)}{_until(explanation) if explanation.until_ms else ''}"
        case Outcome.NO_BUDGET:
            return f"would stop it: nothing is left of what pays for it{_numbers(explanation)}{_until(explanation)}"
        case Outcome.HOLDOUT:
            return f"would stop it: the client is held out{_numbers(explanation)}"
        case _:
            return "would stop it: the client has had the day's contacts (daily cap)"


def paid(one: Payment) -> str:
    """What an action costs a budget, and what is left of it."""

    def amount(value: int) -> str:
        return shown(value, number(MONEY)) if isinstance(one.budget.limit, Fen) else f"{value:,}"

    said = f"budget {one.budget.name} ({one.period}): {amount(one.cost)}; {amount(one.granted)} of "
    said += f"{amount(int(one.budget.limit))} are granted; this client's partition has spent {amount(one.spent)}, "
    return f"{said}and has {amount(one.left)} left"


def _paid_json(one: Payment) -> dict[str, Any]:
    amounts = {"cost": one.cost, "limit": int(one.budget.limit), "granted": one.granted}
    amounts |= {"spent": one.spent, "left": one.left}
    is_money = isinstance(one.budget.limit, Fen)
    told = {name: cny(value) if is_money else value for name, value in amounts.items()}
    return {"budget": one.budget.name, "period": one.period} | told


def _until(explanation: Explanation) -> str:
    ends = "for good" if explanation.until_ms is None else f"until {firm_time(explanation.until_ms)}"
    return f" {ends}{f', {explanation.decided}' if explanation.decided else ''}"


def _numbers(explanation: Explanation) -> str:
    said = (f"{name.replace('_', ' ')} {value}" for name, value in explanation.told)
    return f" ({', '.join(said)})"


def in_short(explanation: Explanation) -> str:
    """The answer in a few words."""
    term = explanation.term
    if term.holds:
        stopped = "" if explanation.stopped is None else f", but {policy(explanation)}"
        return f"the condition holds{stopped}"
    if term.holds is None:
        return f"depends on {what(explanation)}: {', '.join(explanation.open)}"
    fails = failing(term)
    more = f" and {len(fails) - 1} more" if len(fails) > 1 else ""
    unknown = f"; the policy {policy(explanation)}" if explanation.stopped is Outcome.DAY_UNKNOWN else ""
    return f"fails at {_told(fails[0])}{more}{unknown}" if fails else f"the condition is false{unknown}"


def _told(term: Term) -> str:
    values = term.parts[0].values if term.joins == "not" else term.values
    said = ", ".join(f"{value.text} is {value.shown}" for value in values[:2] if value.text != term.text)
    return f"{term.text}{f' ({said})' if said else ''}"


def what(explanation: Explanation) -> str:
    """What its open names are of."""
    kinds = {
        "tier_change": "the tier change",
        "tier_at_risk": "the notice of a demotion",
        "maturity": "the holding that ends",
        "unanswered": "the open item",
        "item": "the open item",
    }
    trigger = explanation.trigger
    return kinds.get(trigger.kind, f"the event ({trigger.topic})" if trigger.topic else "the event")


def as_json(explanation: Explanation) -> dict[str, Any]:
    until = None if explanation.until_ms is None else rfc3339(explanation.until_ms)
    return {
        "rule": explanation.rule.id,
        "trigger": str(explanation.trigger),
        "time": rfc3339(explanation.now_ms),
        "holds": explanation.term.holds,
        "standing": explanation.standing or None,
        "depends_on": list(explanation.open),
        "term": _term_json(explanation.term),
        "flips": [{"name": f.name, "now": f.now, "new": f.new, "bound": f.bound} for f in explanation.flips],
        "policy": None if explanation.stopped is None else explanation.stopped.value,
        "audience": explanation.audience,
        "owner": explanation.owner,
        "channel": explanation.channel,
        "past": list(explanation.short),
        "cooldown_until": until if explanation.stopped is Outcome.COOLDOWN else None,
        "until": until,
        "decided": explanation.decided or None,
        "budgets": [_paid_json(one) for one in explanation.paid],
    }


def _term_json(term: Term) -> dict[str, Any]:
    found: dict[str, Any] = {"text": term.text, "holds": term.holds}
    if term.parts:
        found |= {"joins": term.joins, "parts": [_term_json(part) for part in term.parts]}
    if term.values:
        found["values"] = values_json(term.values)
    return found


def values_json(values: Iterable[Value]) -> list[dict[str, Any]]:
    return [
        {"text": value.text, "value": value.shown}
        | ({"row": value.row} if value.row else {})
        | ({"made_of": values_json(value.values)} if value.values else {})
        for value in values
    ]
