"""Inbound events: the contract with the systems that produce them.

Enters: nothing. Leaves: one frozen pydantic model for each inbound topic.
Holds: an absent field says nothing, a null one says "unknown now"; `model_fields_set` has the fields that were said.
Money is integer fen (1 CNY = 100 fen), times are epoch milliseconds once parsed, unknown extra fields are ignored
(producers evolve), known fields are strict (no "5" for 5, no true for 1). The models say what is right to send; what
`decode` makes of a field that is out of its range follows from `essential` and `unsaid`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from engine.core.contract.fields import (
    EARLIEST_MS,
    LATEST_MS,
    Codes,
    Currency,
    Date,
    Instead,
    Quantity,
    QuantityHeld,
    noted,
)
from engine.core.firm_time import DAY_MS, date_of_day, day_of
from engine.core.quick import Usual
from engine.core.text import IDENTIFIER

MAX_AMOUNT_FEN: Final = 10**17  # a million billion CNY; windowed sums stop short of 64 bits (see features.py)
DEFAULT_LANGUAGE: Final = "zh-CN"  # where a client's own is not known
DEFAULT_TIME_ZONE: Final = "Asia/Shanghai"

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def parse_time_ms(value: Any) -> int:
    """RFC 3339 with an offset, or epoch milliseconds -> epoch milliseconds. Raises ValueError."""
    if type(value) is int:
        moment_ms = value
    elif type(value) is str:
        moment_ms = _from_rfc3339(value)
    else:
        raise PydanticCustomError(
            "time_type", "a time is an RFC 3339 string with an offset or integer epoch milliseconds"
        )
    if not EARLIEST_MS <= moment_ms < LATEST_MS:
        raise PydanticCustomError(
            "time_range", "the time lies outside 2000 to 2100; numbers are epoch milliseconds, not seconds"
        )
    return moment_ms


def _from_rfc3339(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is not None and match[2] is None:
        raise PydanticCustomError("time_offset", "the time has no UTC offset; write 2026-03-02T09:30:00+08:00 or ...Z")
    try:
        if match is not None:  # whole numbers throughout: a float of seconds would lose a millisecond now and then
            since = dt.datetime.fromisoformat(text.upper()) - _EPOCH
            return since.days * DAY_MS + since.seconds * 1_000 + since.microseconds // 1_000
    except ValueError:
        pass
    raise PydanticCustomError("time_format", "not an RFC 3339 time such as 2026-03-02T09:30:00+08:00")


def _time_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    number = core_schema.int_schema(
        ge=EARLIEST_MS, lt=LATEST_MS, strict=True
    )  # pydantic's own code, and the usual case
    other = core_schema.no_info_plain_validator_function(parse_time_ms)
    return core_schema.union_schema([(number, AS_NUMBER), (other, "text")], mode="left_to_right")


AS_NUMBER: Final = "number"  # at the end of the place of a fault: not the fault of a time
TimeMs = Annotated[
    int,
    Usual(Annotated[int, msgspec.Meta(ge=EARLIEST_MS, lt=LATEST_MS)] | str, of_text=parse_time_ms),
    GetPydanticSchema(_time_schema),
    WithJsonSchema(
        {
            "description": "RFC 3339 date-time with an offset, or integer epoch milliseconds.",
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "minimum": EARLIEST_MS, "exclusiveMaximum": LATEST_MS},
            ],
        }
    ),
]


def _possible_maturity(text: str, info: ValidationInfo) -> str:
    """Not before the day on which it is bought; a sale may follow the last day."""
    time_ms = info.data.get("time")
    if time_ms is not None and info.data.get("side") == "buy" and text < date_of_day(day_of(time_ms)).isoformat():
        raise PydanticCustomError("date_range", "the last day lies before the purchase")
    return text


Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$"), IDENTIFIER]
AmountFen = Annotated[int, Field(ge=0, le=MAX_AMOUNT_FEN)]
SignedFen = Annotated[int, Field(ge=-MAX_AMOUNT_FEN, le=MAX_AMOUNT_FEN)]
DecimalCny = Annotated[
    str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$", description="Exact decimal in CNY, as a string.")
]

Channel = Literal["app_push", "sms", "email", "phone", "wechat"]
ClientType = Literal[
    "individual", "mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund", "enterprise_annuity"
]
AccessChannel = Literal["app", "web", "desktop", "phone", "branch", "api", "other"]
Product = Literal["stock", "fund", "bond", "etf", "option", "future", "robo_portfolio", "other"]
BalanceKind = Literal[
    "deposit",
    "withdrawal",
    "transfer_in",
    "transfer_out",
    "gain",
    "loss",
    "dividend",
    "interest",
    "fee",
    "snapshot",
    "other",
]
Kind = Literal["alert", "assignment", "survey", "message", "task"]  # of an action
ActionChannel = Literal["app_push", "sms", "email", "phone", "wechat", "work_queue"]
Purpose = Literal["marketing", "service", "risk"]  # of a contact
ReceiptStatus = Literal["delivered", "opened", "clicked", "failed", "bounced", "opted_out"]
OutcomeStatus = Literal["accepted", "declined", "done", "not_reached", "waiting_for_client", "client_answered"]
ComplaintStatus = Literal[
    "opened", "acknowledged", "waiting_for_client", "client_answered", "answered", "resolved", "reopened", "withdrawn"
]
Severity = Literal["low", "medium", "high", "critical"]
MAX_COMMENT: Final = 10_000  # characters
AgeBand = Literal["under_25", "25_35", "36_45", "46_60", "over_60"]
Region = Literal["east", "central", "west", "northeast"]
RiskLevel = Literal["R1", "R2", "R3", "R4", "R5"]


class Event(BaseModel):
    """What every inbound event has. The Kafka record's key is `client_id`, in UTF-8."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")
    # Fields without which the event means nothing: an event in which one cannot be read is refused. Any other field
    # that cannot be read costs itself alone (see `decode`).
    essential: ClassVar[frozenset[str]] = frozenset({"event_id", "client_id", "time"})
    unsaid: ClassVar[frozenset[str]] = frozenset()  # fields that count as not said, not as unknown, if unreadable
    # Fields without which an event is refused, though one that cannot be read costs itself alone
    needed: ClassVar[frozenset[str]] = frozenset()

    event_id: Identifier = Field(description="The producer's own id of this event; returned in every action it causes.")
    client_id: Identifier = Field(description="The client; equal to the record's key.")
    time: TimeMs = Field(description="When it happened.")


class Trade(Event):
    """A filled order."""

    # of another currency, or of one that cannot be read, amounts would be wrong
    essential: ClassVar[frozenset[str]] = Event.essential | {"symbol", "side", "amount_fen", "currency"}

    symbol: Identifier
    product: Annotated[Product, Instead("other")] = Field(
        default="stock", description="null: unknown, which counts as `other`."
    )
    side: Literal["buy", "sell"]
    quantity: Quantity | None = Field(
        default=None,
        description="Shares, units or contracts: a number or a decimal text, with at most six decimals and fifteen "
        "digits. Null or absent: unknown.",
    )
    price_cny: DecimalCny | None = None
    amount_fen: AmountFen = Field(description="Turnover in fen.")
    channel: Annotated[AccessChannel, Instead("other")] = Field(
        default="app", description="null: unknown, which counts as `other`."
    )
    matures_on: Annotated[Date, AfterValidator(_possible_maturity)] | None = Field(
        default=None,
        description="The last day of what was bought, if it has a term; unknown if it lies before the purchase.",
    )
    account: Identifier | None = Field(default=None, description="The client's account that it is booked on.")
    order_id: Identifier | None = Field(default=None, description="The order that it fills, in whole or in part.")
    commission_fen: AmountFen | None = Field(default=None, description="What the client paid for it, in fen.")
    currency: Currency | None = Field(
        default=None,
        description="Currency of amount_fen and commission_fen: CNY (or RMB), as if it is null or absent. A trade of "
        "another is refused: convert its amounts, and say by `market` where it was done.",
    )
    market: Identifier | None = Field(default=None, description="Where it was done, by the firm's own code.")


class Login(Event):
    """An attempt to log in."""

    channel: Annotated[AccessChannel, Instead("other")] = Field(description="null: unknown, which counts as `other`.")
    success: Annotated[bool, Instead(True)] = Field(
        default=True, description="Whether it succeeded. Null: unknown, which does not count as a failure."
    )
    device_id: Identifier | None = None
    region: Region | None = Field(default=None, description="Where the attempt came from, if known.")


class Balance(Event):
    """A change of a client's assets. `kind` gives the direction; `amount_fen` is never negative.

    `cash_fen` and `margin_ratio`: absent says nothing, the client's last ones stay; null says that they are unknown now
    (a margin account that was closed: `margin_ratio: null`).
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {"amount_fen", "assets_fen", "account"}

    kind: Annotated[BalanceKind, Instead("other")] = Field(description="null: unknown, which counts as `other`.")
    amount_fen: AmountFen = Field(description="Size of the change in fen; 0 for a snapshot.")
    assets_fen: SignedFen = Field(description="Total assets after the change, in fen, less debt: can be negative.")
    cash_fen: SignedFen | None = Field(
        default=None, description="Cash after the change, in fen; negative if the account owes it."
    )
    margin_ratio: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False), AfterValidator(noted)] | None = Field(
        default=None, description="Maintenance ratio of a margin account (assets / debt)."
    )
    account: Identifier | None = Field(
        default=None,
        description="The account that assets, cash and ratio are of; the client's are then those of all its accounts. "
        "Absent: they are the whole client's.",
    )


# -- what comes back ---------------------------------------------------------------------------------------------------


class Answer(Event):
    """What comes back to an action. Whoever delivers an action copies `id`, `rule_id` and `kind` of its record."""

    essential: ClassVar[frozenset[str]] = Event.essential | {"action_id"}

    action_id: Identifier = Field(
        description="The action's `id`; of a survey or a call of your own, an id of your own."
    )
    rule_id: Identifier | None = Field(default=None, description="The action's `rule_id`.")
    kind: Kind | None = Field(default=None, description="The action's `kind`.")


class Receipt(Answer):
    """What became of an action on its way.

    `opted_out` withdraws the client's consent for the channel, as of `time`, for `purpose` or, without one, for all: a
    profile that is later holds, and so does its consent; one that is older, or of the same moment, does not bring the
    consent back.
    """

    essential: ClassVar[frozenset[str]] = Answer.essential | {"channel", "status"}

    channel: ActionChannel = Field(
        description="The channel it was sent on: the action's `channel`, or the one in fact."
    )
    status: ReceiptStatus
    purpose: Purpose | None = Field(
        default=None, description="Of opted_out: what the client wants no more of; null or absent: of anything."
    )


class Outcome(Answer):
    """What staff made of an alert, an assignment or a task."""

    essential: ClassVar[frozenset[str]] = Answer.essential | {"status"}

    status: OutcomeStatus = Field(
        description="accepted: somebody will act; done: somebody has; waiting_for_client: its clock stands until "
        "client_answered, or the next step."
    )
    code: Identifier | None = Field(default=None, description="The firm's own code of the result.")
    by: Identifier | None = Field(default=None, description="Who of the staff.")


def _something_said(comment: str | None, info: ValidationInfo) -> str | None:
    """The last field: with nothing said in it, something must be in another."""
    comment = comment or None
    if comment is None and all(info.data.get(name) is None for name in ("nps", "csat", "ces", "answers")):
        raise PydanticCustomError(
            "nothing_said", "nothing that can be read in it, nor in nps, csat, ces or answers: send one"
        )
    return comment


class Feedback(Answer):
    """What a client answered to a survey: at least one of `nps`, `csat`, `ces`, `answers` and `comment`.

    The comment is the client's own words: a rule can pass it on, and nothing else keeps or shows it.
    """

    nps: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="How likely the client is to recommend the firm, 0 to 10."
    )
    csat: Annotated[int, Field(ge=1, le=5)] | None = Field(
        default=None, description="How satisfied the client is, 1 (not at all) to 5."
    )
    ces: Annotated[int, Field(ge=1, le=7)] | None = Field(
        default=None, description="How easy it was, 1 (very hard) to 7."
    )
    answers: Codes | None = Field(default=None, description="The codes of what was chosen, such as `fees`.")
    comment: Annotated[
        Annotated[str, Field(max_length=MAX_COMMENT)] | None,
        AfterValidator(_something_said),
        Field(validate_default=True),
    ] = Field(default=None, description="In the client's own words.")


class Position(Event):
    """What a client holds of one security, as of `time`. Each record is whole: what it leaves out is unknown. Of the
    records on one security the latest `time` counts, in whatever order they come; `quantity` 0 ends it.
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {"symbol", "quantity"}

    symbol: Identifier
    product: Annotated[Product, Instead("other")] = Field(
        default="other", description="null: unknown, which counts as `other`."
    )
    risk_class: RiskLevel | None = Field(default=None, description="The product's risk class. Null: unknown.")
    quantity: QuantityHeld = Field(description="Shares, units or contracts; 0: nothing is held.")
    value_fen: AmountFen | None = Field(default=None, description="Market value of it all in fen. Null: unknown.")
    cost_fen: AmountFen | None = Field(default=None, description="What it was bought for, in fen. Null: unknown.")


class Complaint(Event):
    """A step of a complaint: each has the same `complaint_id`."""

    essential: ClassVar[frozenset[str]] = Event.essential | {"complaint_id", "status"}

    complaint_id: Identifier
    status: ComplaintStatus = Field(
        description="acknowledged: the client knows that it came; waiting_for_client: its clock stands until "
        "client_answered, or the next step."
    )
    category: Identifier | None = Field(default=None, description="The firm's own code of what it is about.")
    severity: Severity | None = None


class DeclaredEvent(Event):
    """An event of a type that the active rules declare in events.yaml, which says what further fields it has.

    `engage schemas --rules DIR` writes a schema for each type. A record of a type that is not declared is a dead letter
    of the reason unknown_type: once it is declared, `engage resend` brings it in at its own time.
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {"type"}

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="The declared type's name.")
