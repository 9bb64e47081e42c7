"""What became of the rules that matched for a client, as people read it: why, until when, what would have to change.

Enters: decisions as they were published, a client's state, the rules. Leaves: lines of text, or plain values.
Holds: what is said follows from the records and the state alone, so that an old decision reads as it was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.core.client.state import ClientState
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import Outcome
from engine.core.plan.compile import Plan
from engine.core.policy import holding
from engine.core.policy.outcomes import COUNTED, OUTCOME, RULE
from engine.insight.values import ZONE, duration, firm_time

# of each outcome: why it is one; what would have to change for an action to be sent. Of what was sent, nothing
_MEANS: Final[dict[str, tuple[str, str]]] = {
    Outcome.EXPIRED: ("its time to be delivered had passed", "a longer `expires` of the rule"),
    Outcome.PAST_UNKNOWN: ("a part of the past that it asks for is not known", "run `engage backfill`"),
    Outcome.DAY_UNKNOWN: ("a list of days, or the calendar, says nothing of the day", "add the next days, and publish"),
    Outcome.DO_NOT_CONTACT: ("staff said: not to be contacted", "staff withdraw that"),
    Outcome.SNOOZED: ("staff let it rest", "staff end that"),
    Outcome.NOT_WHILE: ("its class is not sent meanwhile", "the end of what keeps it, or another class"),
    Outcome.UNSUITABLE: (
        "the product does not suit the client, or that is not known",
        "a new risk assessment, or another product",
    ),
    Outcome.COOLDOWN: ("the rule had acted before", "wait for the end of its cooldown, or a shorter one"),
    Outcome.NOT_ENTERED: (
        "the client is in the journey or was, or what ends it holds",
        "`again` in its entry, or the end of what ends it",
    ),
    Outcome.NO_CONSENT: ("the client agreed to none of its channels", "the client agrees to one of them"),
    Outcome.PAUSED: (
        "the rule is paused, and no more of it is held; or what it held was dropped",
        "resume the rule: `engage rules resume`",
    ),
    Outcome.QUIET_HOURS: (
        "quiet hours, and it is not held",
        "`when_quiet: hold` in its class, and an expiry after the quiet hours",
    ),
    Outcome.CHANNEL_RESTS: (
        "its channels failed too often in a row",
        "a receipt that says that the client was reached",
    ),
    Outcome.REPEATED: ("the client has just had the same text", "another text, or other values in it"),
    Outcome.HELD: ("it waits", "nothing: it is decided again then"),
    Outcome.DAILY_CAP: ("the client had the day's contacts", "a higher priority than what had them, or a higher cap"),
    Outcome.CAP: ("the client had what a cap allows", "a higher priority than what had it, or a higher cap"),
    Outcome.HOLDOUT: ("the client is one of those who get none of it", "nothing: it is there to compare with"),
    Outcome.ADVISOR_BUSY: (
        "its advisor had as much open as fits",
        "what is open is done, or more open_tasks in advisors.yaml",
    ),
    Outcome.NO_BUDGET: ("nothing is left of what pays for it", "a higher limit, or the budget's next period"),
    Outcome.RATE: ("its turn would have come after its expiry", "a higher rate, or a longer `expires` of the rule"),
    Outcome.NO_LONGER_TRUE: (
        "its condition did not hold any more when it was decided again",
        "`still: false` in the rule, if it is to be sent all the same",
    ),
    Outcome.RETRACTED: ("the event that led to it was corrected", "nothing: what it would have said was wrong"),
    Outcome.SENT: ("", ""),
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What is known of a client: decisions of the topic, the latest first; what is held; what is counted since."""

    client_id: str
    now_ms: int
    told: tuple[dict[str, Any], ...]
    held: tuple[dict[str, Any], ...]
    counted: Mapping[tuple[str, str], int]  # (rule, outcome) -> how many are not on the topic yet
    days: float  # how far back the topic was read
    titles: Mapping[str, str]  # of the rules that are active


def decided_of(plan: Plan, client: ClientState, told: Iterable[dict[str, Any]], days: float) -> Decided:
    """`told`: the client's decisions, in the order of the topic."""
    counted = Counter({(one[RULE], one[OUTCOME]): one[COUNTED] for one in client.recent if len(one) > COUNTED})
    return Decided(
        client.client_id,
        client.now_ms,
        tuple(reversed(list(told))),
        tuple(map(_held, sorted(client.waiting, key=lambda held: held[holding.RELEASE_MS]))),
        counted,
        days,
        {rule.id: rule.title for rule in plan.rule_set.rules},
    )


def _held(held: Sequence[Any]) -> dict[str, Any]:
    return {
        "match": held[holding.MATCH].hex(),
        "rule_id": held[holding.RULE],
        "since": rfc3339(held[holding.SINCE_MS]),
        "waits_for": held[holding.WHY],
        "not_before": rfc3339(held[holding.RELEASE_MS]),
        "expires_at": rfc3339(held[holding.EXPIRES_MS]),
    }


def why(told: Mapping[str, Any]) -> str:
    """Why a decision is what it is, with its numbers; empty for what was sent."""
    numbers = dict(told.get("numbers", {}))
    said = _means(told["outcome"])[0]
    if "waits_for" in numbers:
        said += f" for {str(numbers.pop('waits_for')).replace('_', ' ')}"
    if numbers:
        said += f" ({', '.join(_number(name, value) for name, value in numbers.items())})"
    moment = told.get("not_before") or told.get("until")
    return f"{said}, until {_time(moment)}" if moment else said


def change(outcome: str) -> str:
    """What would have to change for it to be sent; empty for what was."""
    return _means(outcome)[1]


def _means(outcome: str) -> tuple[str, str]:
    return _MEANS.get(outcome, (outcome, "not known to this version"))


def _number(name: str, value: Any) -> str:
    if name == "period" and not isinstance(value, str):
        return f"within {duration(value * 1000)}"
    return f"{name.replace('_', ' ')} {value}"


def _time(text: str) -> str:
    return firm_time(parse_time_ms(text))


def lines(found: Decided) -> Iterator[str]:
    """Times are the firm's."""
    yield f"client {found.client_id} at {firm_time(found.now_ms)} ({ZONE})"
    if found.held:
        yield ""
        yield "held, the next first"
        for held in found.held:
            yield f"  {_time(held['not_before'])}  {_rule(found, held['rule_id'])}"
            waits = f"since {_time(held['since'])}, for {held['waits_for'].replace('_', ' ')}"
            yield f"      {waits}; it is decided again then, and expires at {_time(held['expires_at'])}"
    yield ""
    yield f"decisions of the last {duration(found.days * 86_400_000)}, the latest first"
    for told in found.told:
        channel = f"  {told['kind']} by {told['channel']}" if "channel" in told else ""
        yield f"  {_time(told['time'])}  {told['outcome']:<14} {_rule(found, told['rule_id'])}{channel}"
        if because := why(told):
            yield f"      {because}"
            yield f"      to be sent: {change(told['outcome'])}"
        yield from (
            f"      before that, {one['times']} more of {one['rule_id']}: {one['outcome']}"
            for one in told.get("folded", ())
        )
    if not found.told:
        yield "  none"
    if found.counted:
        yield ""
        yield "counted since, as the same as before"
        yield from (f"  {rule_id}: {outcome}, {times}" for (rule_id, outcome), times in found.counted.items())


def _rule(found: Decided, rule_id: str) -> str:
    title = found.titles.get(rule_id)
    return f"{rule_id} ({title})" if title else f"{rule_id} (not active)"


def as_json(found: Decided) -> dict[str, Any]:
    def more(one: dict[str, Any]) -> dict[str, Any]:
        return {"title": found.titles.get(one["rule_id"])}

    return {
        "client_id": found.client_id,
        "time": rfc3339(found.now_ms),
        "held": [held | more(held) for held in found.held],
        "decisions": [
            told | more(told) | {"why": why(told) or None, "change": change(told["outcome"]) or None}
            for told in found.told
        ],
        "counted": [
            {"rule_id": rule_id, "outcome": outcome, "times": times}
            for (rule_id, outcome), times in found.counted.items()
        ],
    }
