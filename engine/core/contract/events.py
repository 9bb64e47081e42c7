"""Inbound events: the contract with the systems that produce them.

Enters: nothing. Leaves: one frozen pydantic model for each inbound topic.
Holds: money is integer fen (1 CNY = 100 fen), times are epoch milliseconds once parsed, unknown extra fields are
tolerated (producers evolve), known fields are strict (no "5" for 5, no 5.0 for 5, no true for 1).
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

EARLIEST_MS: Final = (
    946_684_800_000  # 2000-01-01T00:00:00Z: anything earlier is a unit mistake (seconds for milliseconds)
)
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01T00:00:00Z
MAX_AMOUNT_FEN: Final = 10**13  # 100 billion CNY: keeps every windowed sum inside 64 bits
MAX_QUANTITY: Final = 10**12


_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


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
            return (dt.datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except ValueError:
        pass
    raise PydanticCustomError("time_format", "not an RFC 3339 time such as 2026-03-02T09:30:00+08:00")


TimeMs = Annotated[
    int,
    BeforeValidator(parse_time_ms),
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


def _existing_date(text: str) -> str:
    try:
        dt.date.fromisoformat(text)
    except ValueError as error:
        raise PydanticCustomError("date_value", "there is no such day; write 2026-03-02") from error
    return text


Date = Annotated[
    str,
    Field(pattern=r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", json_schema_extra={"format": "date"}),
    AfterValidator(_existing_date),
]
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]  # printable ASCII without space
AmountFen = Annotated[int, Field(ge=0, le=MAX_AMOUNT_FEN)]
DecimalCny = Annotated[
    str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$", description="Exact decimal in CNY, as a string.")
]

Channel = Literal["app_push", "sms", "email", "phone", "wechat"]
ClientType = Literal[
    "individual", "mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund", "enterprise_annuity"
]
AccessChannel = Literal["app", "web", "desktop", "phone", "branch", "api"]
AgeBand = Literal["under_25", "25_35", "36_45", "46_60", "over_60"]
Region = Literal["east", "central", "west", "northeast"]
RiskLevel = Literal["R1", "R2", "R3", "R4", "R5"]


class Event(BaseModel):
    """What every inbound event has. The Kafka record's key is `client_id`, in UTF-8."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    event_id: Identifier = Field(description="The producer's own id of this event; returned in every action it causes.")
    client_id: Identifier = Field(description="The client; equal to the record's key.")
    time: TimeMs = Field(description="When it happened.")


class Trade(Event):
    """A filled order."""

    symbol: Identifier
    product: Literal["stock", "fund", "bond", "etf", "option", "future", "robo_portfolio", "other"] = "stock"
    side: Literal["buy", "sell"]
    quantity: Annotated[int, Field(gt=0, le=MAX_QUANTITY)] = Field(description="Shares, units or contracts.")
    price_cny: DecimalCny | None = None
    amount_fen: AmountFen = Field(description="Turnover in fen.")
    channel: AccessChannel = "app"
    matures_on: Date | None = Field(default=None, description="The last day of what was bought, when it has a term.")


class Login(Event):
    """An attempt to log in."""

    channel: AccessChannel
    success: bool = True
    device_id: Identifier | None = None
    region: Region | None = Field(default=None, description="Where the attempt came from, when known.")


class Balance(Event):
    """A change of a client's assets. `kind` gives the direction; amounts are never negative."""

    kind: Literal[
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
    ]
    amount_fen: AmountFen = Field(description="Size of the change in fen; 0 for a snapshot.")
    assets_fen: AmountFen = Field(description="Total assets after the change, in fen.")
    cash_fen: AmountFen | None = Field(default=None, description="Cash after the change, in fen.")
    margin_ratio: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = Field(
        default=None, description="Maintenance ratio of a margin account (assets / debt); absent without margin."
    )


class Consents(BaseModel):
    """Channels on which the client agreed to be contacted. A channel left out is not agreed to."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    app_push: bool = False
    sms: bool = False
    email: bool = False
    phone: bool = False
    wechat: bool = False


class Profile(Event):
    """What is known of a client, whole: each event replaces the profile before it."""

    type: ClientType
    age_band: AgeBand | None = None
    region: Region | None = None
    risk_level: RiskLevel | None = None
    consents: Consents = Consents()
    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] = "zh-CN"
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$", max_length=64)] = "Asia/Shanghai"
    advisor_id: Identifier | None = None
    birth_date: Date | None = None
