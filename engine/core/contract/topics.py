"""THE table of inbound topics: everything that the engine knows of a kind of event follows from its entry here.

Enters: the event models. Leaves: one Topic each, and the lists that follow from the table.
Holds: every function reads the table when it is called, so an entry added to it is known everywhere. A rank is part of
the contract, since it breaks ties when topics are merged by time: it never changes and is never given twice. The types
that a rule set declares are kinds of events too, each with a Topic of its own; all of them come on the topic `events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.core.contract.corrections import Correction
from engine.core.contract.events import (
    DEFAULT_LANGUAGE,
    Balance,
    Complaint,
    Feedback,
    Login,
    Outcome,
    Position,
    Receipt,
    Trade,
)
from engine.core.contract.granting import (
    AdvisorChange,
    AssignmentAnswer,
    AssignmentRequest,
    BudgetAnswer,
    BudgetRequest,
)
from engine.core.contract.profiles import CONSENTS, Override, Profile
from engine.core.contract.topic import Asked, Fact, Topic

REROUTED: Final = "rerouted"
REROUTED_RANK: Final = 4
EVENTS: Final = "events"  # carries the types that rule sets declare
EVENTS_RANK: Final = 5
DEAD_LETTERS: Final = "dead-letters"


_OF_AN_ACTION: Final = (
    Asked("action_id", "the action's id"),
    Asked("rule_id", "the rule that it came from"),
    Asked("kind", "the kind of action"),
)
TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        Topic(
            name="trades",
            rank=3,
            singular="trade",
            called="trade",
            model=Trade,
            names=(
                Asked("symbol", "security traded"),
                Asked("product", "kind of product"),
                Asked("side", "buy or sell"),
                Asked("quantity", "shares, units or contracts", "shares"),
                Asked("amount_fen", "turnover"),
                Asked("channel", "channel of access"),
                Asked("account", "account that it is booked on"),
                Asked("order_id", "order that it fills"),
                Asked("commission_fen", "what the client paid for it"),
                Asked("market", "where it was done, by the firm's own code"),
            ),
            example={"symbol": "600000", "side": "buy", "quantity": 100, "amount_fen": 1_000_000},
        ),
        Topic(
            name="logins",
            rank=2,
            singular="login",
            called="login",
            model=Login,
            names=(
                Asked("channel", "channel of access"),
                Asked("success", "whether it succeeded; true if that is not known"),
                Asked("region", "where it came from"),
                Asked("device_id", "device"),
            ),
            example={"channel": "app"},
        ),
        Topic(
            name="balances",
            rank=1,
            singular="balance",
            called="balance event",
            model=Balance,
            names=(
                Asked("kind", "kind of change"),
                Asked("amount_fen", "size of the change"),
                Asked("assets_fen", "total assets after it, of all accounts"),
                Asked("cash_fen", "cash after it, of all accounts"),
                Asked("margin_ratio", "maintenance ratio after it, the lowest of all accounts", "ratio"),
                Asked("account", "account that it is of"),
            ),
            facts=(
                Fact("assets_fen", "total assets at the last balance event"),
                Fact("assets_fen", "highest total assets ever seen", kept_as="assets_peak_fen"),
                Fact("cash_fen", "cash at the last balance event that gave it"),
                Fact("margin_ratio", "maintenance ratio at the last balance event that gave it", "ratio"),
            ),
            example={"kind": "snapshot", "amount_fen": 0},
        ),
        Topic(
            name="profiles",
            rank=0,
            singular="profile",
            called="profile",
            model=Profile,
            # a profile becomes the client's own facts before rules are evaluated: rules ask for those
            facts=(
                Fact("type", "type of client; missing until a profile came"),
                Fact("age_band", "age band from the profile"),
                Fact("region", "region from the profile"),
                Fact("risk_level", "risk level from the profile"),
                Fact("language", "language from the profile", default=DEFAULT_LANGUAGE),
            ),
            told=(*CONSENTS.values(), "time_zone", "advisor_id", "birth_date"),
            activity=False,
        ),
        Topic(
            name="receipts",
            rank=6,
            singular="receipt",
            called="receipt",
            model=Receipt,
            names=(
                Asked("status", "what became of it"),
                Asked("channel", "the channel it was sent on"),
                Asked("purpose", "of opted_out: what the client wants no more of; missing for anything"),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "action-1", "channel": "sms", "status": "delivered"},
        ),
        Topic(
            name="outcomes",
            rank=7,
            singular="outcome",
            called="outcome",
            model=Outcome,
            names=(
                Asked("status", "what staff made of it"),
                Asked("code", "the firm's own code of the result"),
                Asked("by", "who of the staff"),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "action-1", "status": "done"},
        ),
        Topic(
            name="feedback",
            rank=8,
            singular="feedback",
            called="feedback event",
            model=Feedback,
            names=(
                Asked("nps", "how likely to recommend the firm, 0 to 10", "score"),
                Asked("csat", "how satisfied, 1 to 5", "score"),
                Asked("ces", "how easy it was, 1 to 7", "score"),
                Asked("answers", "the codes of what was chosen, for has_code"),
                Asked("comment", "in the client's own words; can only be passed on", personal=True, kept=False),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "survey-1"},
        ),
        Topic(
            name="complaints",
            rank=9,
            singular="complaint",
            called="complaint",
            model=Complaint,
            names=(
                Asked("status", "the step"),
                Asked("category", "the firm's own code of what it is about"),
                Asked("severity", "how grave"),
                Asked("complaint_id", "the same for all its steps"),
            ),
            example={"complaint_id": "complaint-1", "status": "opened"},
        ),
        Topic(
            name="positions",
            rank=10,
            singular="position",
            called="position record",
            model=Position,
            names=(
                Asked("symbol", "security held"),
                Asked("product", "kind of product"),
                Asked("risk_class", "risk class of the product"),
                Asked("quantity", "shares, units or contracts; 0: nothing is held any more", "shares"),
                Asked("value_fen", "market value of the position"),
                Asked("cost_fen", "what the position was bought for"),
            ),
            example={"symbol": "600000", "quantity": 100},
        ),
        Topic(
            name="overrides",
            rank=11,
            singular="override",
            called="override",
            model=Override,
            names=(
                Asked("kind", "what was decided"),
                Asked("by", "who of the staff"),
                Asked("reason", "why, in their words; can only be passed on", personal=True, kept=False),
                Asked("tier", "the tier that was given"),
                Asked("rule_id", "the rule that rests; missing for all rules"),
                Asked("until", "until when; missing for good", "time"),
                Asked("ended", "whether it was withdrawn"),
            ),
            example={"kind": "note", "by": "S-1", "reason": "on the phone"},
        ),
        Topic(
            name="assignment_answers",
            rank=13,
            singular="assignment_answer",
            called="answer to a request for an advisor",
            model=AssignmentAnswer,
            names=(
                Asked("outcome", "whether somebody takes the client"),
                Asked("why", "what moved a client who had an advisor; missing of a first answer"),
                Asked("pool", "the pool that was asked"),
                Asked("advisor_id", "who takes the client; missing if nobody does"),
                Asked("team", "the pool's team, whom it goes to where nobody can"),
            ),
            activity=False,
            example={"request_id": "action-1", "pool": "pool-1", "outcome": "assigned"},
        ),
        Topic(
            name="budget_answers",
            rank=14,
            singular="budget_answer",
            called="answer of a budget",
            model=BudgetAnswer,
            names=(
                Asked("outcome", "whether a part was granted, or nothing is left"),
                Asked("budget", "the budget that was asked"),
            ),
            activity=False,
            example={"request_id": "request-1", "budget": "offers", "period": "month:2026-11-01", "outcome": "nothing"},
        ),
        Topic(
            name="corrections",
            rank=12,
            singular="correction",
            called="correction",
            model=Correction,
            names=(
                Asked("kind", "whether an earlier event is cancelled or replaced"),
                Asked("topic", "where the earlier event was sent"),
                Asked("corrects", "id of the earlier event"),
            ),
        ),
    )
}


ASSIGNMENT_REQUESTS: Final = Topic("assignment_requests", 0, "request", "request", AssignmentRequest, activity=False)
ADVISORS: Final = Topic(
    name="advisors",
    rank=1,
    singular="advisor",
    called="record about an advisor",
    model=AdvisorChange,
    told=("present", "last_day", "capacity", "open_tasks"),
    activity=False,
)
BUDGET_REQUESTS: Final = Topic("budget_requests", 2, "request", "request", BudgetRequest, activity=False)
REQUESTS: Final = {topic.name: topic for topic in (ASSIGNMENT_REQUESTS, BUDGET_REQUESTS)}  # to the second processor
POOL_TOPICS: Final = {topic.name: topic for topic in (ASSIGNMENT_REQUESTS, ADVISORS, BUDGET_REQUESTS)}  # what it hears
OWN: Final = frozenset({*REQUESTS, "assignment_answers", "budget_answers"})  # written by the engine, at its own times

Kinds = Mapping[str, Topic]  # the kinds of events that a rule set knows: those of the table, and those it declares


def written_topics() -> tuple[str, ...]:
    """The topics that producers write to: those about clients, in order of rank, and the one about advisors."""
    return (*inbound_topics(), ADVISORS.name)


def inbound_topics() -> tuple[str, ...]:
    """The topics about clients that producers write to, in order of rank."""
    return tuple(name for name in ranks() if name != REROUTED and name not in OWN)


def ranks() -> dict[str, int]:
    """Every topic that a partition reads, with its place in the merge: the first of equal times goes first."""
    found = {REROUTED: REROUTED_RANK, EVENTS: EVENTS_RANK} | {topic.name: topic.rank for topic in TOPICS.values()}
    return {name: found[name] for name in sorted(found, key=found.__getitem__)}


def intake_topics() -> tuple[str, ...]:
    """What a partition reads, in order of rank."""
    return tuple(ranks())


def in_order(kinds: Kinds) -> tuple[str, ...]:
    """The kinds of events by the rank of the topic that carries them; declared ones by name."""
    return tuple(sorted(kinds, key=lambda name: (kinds[name].rank, name)))


def sources(kinds: Kinds = TOPICS) -> tuple[str, ...]:
    """The kinds of events that features count, and whose last one states know."""
    return tuple(topic.name for topic in kinds.values() if topic.activity)
