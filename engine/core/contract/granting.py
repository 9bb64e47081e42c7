"""What the second processor hears and says: requests of partitions of clients and answers to them, and what the firm
says of advisors.

Enters: nothing. Leaves: the models of their topics. Holds: a request names whose state it concerns, a pool or a budget,
as its `client_id`; an answer goes to the client at whose action it was asked for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from engine.core.contract.events import AmountFen, Event, Identifier, Region
from engine.core.contract.fields import Date

MAX_CAPACITY: Final = 100_000  # of an advisor
MAX_OPEN_TASKS: Final = 10_000  # of an advisor
BUDGET: Final = "budget:"  # before a budget's name, where pools are named beside it


class AssignmentRequest(Event):
    """A client needs an advisor, or needs the one no more; or a task for the advisor needs room, or is open and comes
    with its client. `client_id` is the pool here, whose state it concerns.
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("kind", "request_id", "client", "tier", "region", "language", "needs", "refused", "priority", "advisor_id")
    }

    kind: Literal["assign", "release", "accepted", "declined", "handover", "task", "open"]
    request_id: Identifier = Field(
        description="Of `assign` the action's id, of `task` and `open` its own; of others the request they are about."
    )
    client: Identifier = Field(description="Who needs somebody.")
    tier: Identifier | None = None
    region: Region | None = None
    language: Identifier | None = Field(default=None, description="Without its region, such as zh.")
    needs: tuple[Identifier, ...] = Field(default=(), description="Skills with their level, such as funds:3.")
    refused: tuple[Identifier, ...] = Field(default=(), description="Advisors who are not to have the client.")
    priority: Annotated[int, Field(ge=0, le=100)] = 0
    advisor_id: Identifier | None = Field(
        default=None,
        description="Who accepted, declined, or gives the client up; of `task` and `open` who is to have it.",
    )


class AssignmentAnswer(Event):
    """Who takes a client, or that nobody can; or that an advisor has room for a task. The engine writes it itself."""

    essential: ClassVar[frozenset[str]] = Event.essential | {"request_id", "pool", "outcome", "advisor_id", "why"}

    request_id: Identifier = Field(description="The id of the action that asked; of a task that of its request.")
    pool: Identifier
    outcome: Literal["assigned", "no_capacity", "moved", "room", "away"] = Field(
        description="`room` and `away` are about a task: the advisor has room for it, or is away, and the team has it."
    )
    advisor_id: Identifier | None = Field(default=None, description="Who takes the client; absent if nobody does.")
    why: Literal["declined", "not_accepted", "handover", "other_pool", "conflict", "stand_in", "back"] | None = Field(
        default=None, description="Of a client who had an advisor: what moved it."
    )
    team: Identifier | None = Field(default=None, description="Whom it goes to where nobody can.")


class BudgetRequest(Event):
    """A partition of clients asks for a part of a budget, or gives back what is left of one. `client_id` is the budget
    here, whose state it concerns. Amounts are fen, or a number of actions.
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("kind", "request_id", "client", "period", "amount", "least", "limit")
    }

    kind: Literal["grant", "return"]
    request_id: Identifier
    client: Identifier = Field(description="At whose action it was asked for; the answer goes there.")
    period: Identifier = Field(description="Of which period of the budget, such as month:2026-11-01.")
    amount: AmountFen = Field(description="How much is wanted, or given back.")
    least: AmountFen = Field(default=0, description="Of grant: less than this is of no use.")
    limit: AmountFen = Field(default=0, description="Of grant: the budget's limit, by the rules of whoever asks.")


class BudgetAnswer(Event):
    """A part of a budget for the partition of the client, or that nothing is left. The engine writes it itself."""

    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("request_id", "budget", "period", "outcome", "amount", "least", "limit")
    }

    request_id: Identifier
    budget: Identifier
    period: Identifier
    outcome: Literal["granted", "nothing"]
    amount: AmountFen = Field(default=0, description="How much is granted: fen, or a number of actions.")
    least: AmountFen = Field(default=0, description="Less than this was of no use.")
    limit: AmountFen = Field(default=0, description="By which limit it was decided.")


class AdvisorChange(Event):
    """What has changed about an advisor. The record's key is `pool`, the advisor's in advisors.yaml."""

    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("advisor_id", "present", "leave_from", "leave_until", "stand_in", "last_day", "capacity"),
        "open_tasks",
    }

    client_id: Identifier = Field(alias="pool", description="The advisor's pool; equal to the record's key.")
    advisor_id: Identifier = Field(description="Who, as in advisors.yaml.")
    present: bool | None = Field(default=None, description="false: no new clients come, until it is true or null.")
    leave_from: Date | None = Field(default=None, description="The first day of a leave, by which it is known.")
    leave_until: Date | None = Field(
        default=None, description="Its last day; null: there is no leave from that day on, of advisors.yaml neither."
    )
    stand_in: Identifier | None = Field(default=None, description="Who of the pool has the clients meanwhile.")
    last_day: Date | None = Field(
        default=None, description="With the firm: after it no new clients come. null: as advisors.yaml says."
    )
    capacity: Annotated[int, Field(ge=0, le=MAX_CAPACITY)] | None = Field(
        default=None, description="How many clients, each by the weight of its tier. null: as advisors.yaml says."
    )
    open_tasks: Annotated[int, Field(ge=0, le=MAX_OPEN_TASKS)] | None = Field(
        default=None, description="At most so many tasks and alerts are open at a time. null: as advisors.yaml says."
    )
