"""Outbound records: the contract with the systems that deliver actions.

Enters: nothing. Leaves: pydantic models of actions and tier changes, and the closed enums of outcomes.
Holds: a messaging system needs nothing beyond the record; money in `why` and `parameters` is an exact decimal string
in CNY.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from engine.core.contract.events import Channel, ClientType, Identifier, Kind
from engine.core.contract.topics import TOPICS, in_order

_OWNER: Final = (
    "The department whose team a `team` is: that which the rule belongs to, or, where an advisor's work is for a "
    "client without one, the team of the client's pool."
)
Audience = Literal["client", "advisor", "team"]
Value = str | int | float | bool | None
Arm = Literal["treated", "holdout"]
CareStepName = Literal["reminded", "overdue", "escalated", "ended"]
CareRecipient = Literal["advisor", "team", "head"]

TOPIC_OF_KIND: Final[dict[str, str]] = {
    "alert": "alerts",
    "assignment": "assignments",
    "survey": "surveys",
    "message": "messages",
    "task": "tasks",
}
SCHEMAS_URL: Final = "https://engage.example/schemas"  # where the schemas are said to be, unless a setting says where
RETRACTION: Final = "retraction"  # what is said of an action on its own topic
CARE: Final = "care"  # a step of what was sent: a reminder, an escalation, an end
LEAVES: Final = "ce_leaves"  # header of work that no rule waits for: when it leaves the lists, if nobody takes it up
WORK_KINDS: Final = ("alert", "task")  # what staff do, and say that it is done
CARED_KINDS: Final = ("alert", "task", "assignment")  # what staff can be reminded of
DECISIONS: Final = "decisions"
TIER_CHANGES: Final = "tier-changes"
OUTBOUND: Final = (TIER_CHANGES, *TOPIC_OF_KIND.values(), DECISIONS)


def is_retraction(headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record on the topic of an action retracts one, told from its headers alone."""
    return dict(headers).get("ce_type") == f"engage.{RETRACTION}.v1".encode()


def is_action(headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record on the topic of an action is one, and not a word on one that was sent before."""
    return dict(headers).get("ce_type") not in (f"engage.{RETRACTION}.v1".encode(), f"engage.{CARE}.v1".encode())


class Outcome(StrEnum):
    """What became of a rule that matched, in the order of the gates: the first that applies is the one recorded."""

    EXPIRED = "expired"  # it fell due so long before it was decided that its time to be delivered had passed
    NO_LONGER_TRUE = "no_longer_true"  # it was held, and its condition does not hold any more
    PAST_UNKNOWN = "past_unknown"  # the condition reads a window of which a part of the past is not known
    DAY_UNKNOWN = "day_unknown"  # a list of days, or the calendar, is asked for a day that it does not cover
    DO_NOT_CONTACT = "do_not_contact"  # staff said that the client is not to be contacted
    SNOOZED = "snoozed"  # staff let the rule, or all that goes to the client, rest
    NOT_WHILE = "not_while"  # its class is not sent while something holds of the client, such as an open complaint
    UNSUITABLE = "unsuitable"  # it offers a product that does not suit the client, or of which that is not known
    COOLDOWN = "cooldown"  # the rule acted for this client less than its cooldown ago
    NOT_ENTERED = "not_entered"  # the journey does not begin: the client is in it or was, or what ends it holds
    NO_CONSENT = "no_consent"  # the client agreed to none of the rule's channels
    CHANNEL_RESTS = "channel_rests"  # the channels that the client agreed to have failed too often in a row
    REPEATED = "repeated"  # the client was sent the same text, with the same values, not long ago
    HELD = "held"  # it waits: for the end of quiet hours or of a pause, for what competes with it; decided again then
    PAUSED = "paused"  # the rule is paused, and the client has no room for more that waits; or what it held was dropped
    QUIET_HOURS = "quiet_hours"  # it is a time at which the policy sends nothing of that kind, and it is not held
    DAILY_CAP = "daily_cap"  # the client has had as many contacts today as the policy allows
    CAP = "cap"  # another cap of the policy: of a period, a class, a channel, a tag, a team, a rule
    HOLDOUT = (
        "holdout"  # all else would let it pass, and the client is one of those who get none of it, to compare with
    )
    ADVISOR_BUSY = "advisor_busy"  # until it expired, its advisor had as much open as fits
    NO_BUDGET = "no_budget"  # a budget of the policy that pays for it is spent, or was not answered before its expiry
    RATE = "rate"  # its turn, by a rate over all clients, would come after its expiry
    RETRACTED = "retracted"  # it was held, and the event that led to it was corrected
    SENT = "sent"


class Rejection(StrEnum):
    """Why an inbound record went to the dead letters, in order of precedence."""

    TOO_LARGE = "too_large"
    NO_KEY = "no_key"
    NO_VALUE = "no_value"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    ENVELOPE = "envelope"
    WRONG_TOPIC = "wrong_topic"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_VALUE = "unknown_value"
    OUT_OF_RANGE = "out_of_range"
    KEY_MISMATCH = "key_mismatch"
    FUTURE = "future"


class Outbound(BaseModel):
    """What every outbound record has."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    id: str = Field(
        description="Unique and stable: the same decision, taken again, has the same id.", pattern="^[0-9a-f]{32}$"
    )
    client_id: Identifier
    time: str = Field(
        description="When it was decided, in the clients' event time, RFC 3339 UTC with milliseconds.",
        json_schema_extra={"format": "date-time"},
    )
    cause: Cause


TIMER: Final = "timer"


def _cause_types(schema: dict[str, Any]) -> None:
    """A kind of event, or TIMER."""
    schema.clear()
    said = f"{', '.join(in_order(TOPICS))}, the name of a type that events.yaml declares, or {TIMER}."
    schema |= {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": said}


class Cause(BaseModel):
    """The event that led to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(json_schema_extra=_cause_types)
    event_id: str | None = Field(description="The producer's event id; null for a timer.")
    time: str = Field(json_schema_extra={"format": "date-time"})


class Action(Outbound):
    """Something to do for a client. Published on the topic of its kind, keyed by `client_id`."""

    kind: Kind
    rule_id: str
    rule_version: Annotated[int, Field(ge=1)]
    title: str = Field(description="The rule's title in plain words.")
    description: str = Field(description="What the rule is for, in plain words.")
    audience: Audience = Field(
        description="Who acts. An advisor's work for a client without an advisor is for the `team` of the `owner`."
    )
    channel: str = Field(
        description=f"How to reach a client ({', '.join(get_args(Channel))}), or `work_queue` for advisors and teams."
    )
    owner: str = Field(description=_OWNER)
    advisor_id: Identifier | None = Field(description="The client's advisor, when one is known.")
    tier: str | None
    language: str
    priority: Annotated[int, Field(ge=0, le=100)] = Field(description="100 is the most urgent.")
    template: str = Field(description="What the messaging system renders.")
    parameters: dict[str, Value] = Field(
        description="Values for the template: money as decimal text in CNY, times as RFC 3339, durations in seconds."
    )
    why: dict[str, Value] = Field(
        description="The names of the rule's condition, and what its definitions and tables follow from, with values."
    )
    expires_at: str = Field(description="Not to be delivered after this.", json_schema_extra={"format": "date-time"})
    contact_class: str = Field(alias="class", description="What the rule is for: a class of the contact policy.")
    purpose: str = Field(description="What the client's consent is for: marketing, service or risk.")
    campaign: str | None = Field(description="What the rule is part of, if it says so.")
    tags: tuple[str, ...] = Field(description="What the rule is tagged with.")
    team: str = Field(
        description="Whose contact it is, as caps of a team count: the department that the rule belongs to."
    )
    follows: str | None = Field(
        description="The id of the action that it says again on another channel, since that failed or was not opened."
    )
    arm: Arm | None = Field(
        description="`treated`: a part of the clients is held out of it, and this one is not; null where nobody is."
    )
    not_before: str | None = Field(
        description="Until when it was held; null when it was not.", json_schema_extra={"format": "date-time"}
    )


class Retraction(Outbound):
    """An action no longer holds, since the event that led to it was corrected. Published on the action's own topic,
    after it.
    """

    kind: Kind
    action_id: str = Field(description="The `id` of the action.", pattern="^[0-9a-f]{32}$")
    rule_id: str
    rule_version: Annotated[int, Field(ge=1)]
    reason: Literal["cancelled", "replaced"] = Field(
        description="What became of the event. `cause` names the correction."
    )
    event: Cause = Field(description="The event that had led to the action.")
    action_time: str = Field(description="The action's `time`.", json_schema_extra={"format": "date-time"})


class CareStep(Outbound):
    """What was sent and is not taken up yet is reminded of, escalated or overdue; or it has ended, since its reason
    has. Published on the action's own topic, after it.
    """

    kind: Kind
    follows: str = Field(description="The `id` of the action.", pattern="^[0-9a-f]{32}$")
    rule_id: str
    rule_version: Annotated[int, Field(ge=1)]
    title: str = Field(description="The rule's title in plain words.")
    step: CareStepName = Field(
        description="overdue: its time is up; ended: nobody need act any more, since the reason for it is gone."
    )
    number: Annotated[int, Field(ge=1)] = Field(description="Of the steps of this action: 1 is the first.")
    to: CareRecipient = Field(description="Who is to act now. The `head` is that of the owner, by teams.yaml.")
    owner: str = Field(description=_OWNER)
    head: str | None = Field(description="Who heads the owner, by teams.yaml.")
    advisor_id: Identifier | None = Field(description="The client's advisor, when one is known.")
    priority: Annotated[int, Field(ge=0, le=100)] = Field(description="100 is the most urgent.")
    contact_class: str = Field(alias="class", description="What the rule is for: a class of the contact policy.")
    action_time: str = Field(description="The action's `time`.", json_schema_extra={"format": "date-time"})
    age_s: Annotated[int, Field(ge=0)] = Field(description="Whole seconds since the action was sent.")
    clock_s: Annotated[int, Field(ge=0)] = Field(
        description="Whole seconds that count: business hours if the rule says so, and none of waiting for the client."
    )


_OutcomeName = Annotated[Outcome, WithJsonSchema({"type": "string", "enum": [outcome.value for outcome in Outcome]})]
Absent = SkipJsonSchema[None]  # left out when it does not apply


class Folded(BaseModel):
    """Verdicts that were counted instead of published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_id: str
    outcome: _OutcomeName
    times: Annotated[int, Field(ge=1)]


class Decision(Outbound):
    """What became of a rule that matched, sent or not. Published on `decisions`, keyed by `client_id`. What does not
    apply is left out.
    """

    match: str = Field(
        description="The `id` of the first decision about this match; another one for the end of what was held.",
        pattern="^[0-9a-f]{32}$",
    )
    rule_id: str
    rule_version: Annotated[int, Field(ge=1)]
    outcome: _OutcomeName = Field(description="All but `held` are final: a match has exactly one final outcome.")
    kind: Kind | Literal["journey"] | Absent = Field(
        default=None,
        description="journey: a journey begins, or not. Left out of what was held when its rule is not active.",
    )
    channel: str | Absent = Field(
        default=None, description="That it was sent on, or would have been. Left out as `kind` is."
    )
    contact_class: str | Absent = Field(
        default=None, alias="class", description="A class of the contact policy. Left out as `kind` is."
    )
    arm: Arm | Absent = Field(default=None, description="Left out where no holdout concerns the rule.")
    action_id: str | Absent = Field(
        default=None, description="Of an action that was sent: its `id`.", pattern="^[0-9a-f]{32}$"
    )
    not_before: str | Absent = Field(
        default=None,
        description="Of one that is held: when it is decided again.",
        json_schema_extra={"format": "date-time"},
    )
    until: str | Absent = Field(
        default=None,
        description="Of one that was stopped: when the reason ends, if that is known.",
        json_schema_extra={"format": "date-time"},
    )
    numbers: dict[str, Value] | Absent = Field(
        default=None, description="Of the reason, by name, such as `cap`, `count` and `at_most`: docs/contract.md."
    )
    folded: tuple[Folded, ...] | Absent = Field(
        default=None,
        description="Verdicts of this client that only repeated one before, counted since its last decision here.",
    )


class TierChange(Outbound):
    """A client's tier moved. Published on `tier-changes`, keyed by `client_id`."""

    client_type: ClientType
    from_tier: str | None = Field(description="null for a client's first tier.")
    to_tier: str
    reason: Literal["first", "promoted", "demoted", "type_changed", "override", "override_ended"] = Field(
        description="override: staff gave the tier; override_ended: that is over."
    )
    why: dict[str, Value] = Field(
        description="The measure, the threshold crossed, and since when the client had the old tier."
    )


Outbound.model_rebuild()
Action.model_rebuild()
TierChange.model_rebuild()
Retraction.model_rebuild()
CareStep.model_rebuild()
Decision.model_rebuild()

OUTBOUND_MODEL: Final[dict[str, type[Outbound]]] = {
    TIER_CHANGES: TierChange,
    **dict.fromkeys(TOPIC_OF_KIND.values(), Action),
    DECISIONS: Decision,
}
