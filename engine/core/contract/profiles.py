"""What is known of a client, and what staff decide of it: the models of the topics `profiles` and `overrides`.

Enters: nothing. Leaves: the events' models. Holds: what a profile leaves out stays as it was; consents are whole where
they are given. A field of an override that cannot be read refuses the record, but for the reason.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from engine.core.contract.events import AgeBand, ClientType, Event, Identifier, Purpose, Region, RiskLevel, TimeMs
from engine.core.contract.fields import Date, Language, TimeZone
from engine.core.firm_time import date_of_day, day_of

ALL: Final = "all"
# purpose of a contact -> the field of a profile, and the client's attribute, that says what was agreed to
CONSENTS: Final = {ALL: "consents"} | {purpose: f"{purpose}_consents" for purpose in get_args(Purpose)}
_OLDEST_YEARS: Final = 125  # no one has lived longer; systems write 1900-01-01 for what they do not know


def _possible_birth(text: str, info: ValidationInfo) -> str:
    """Neither after the event nor longer before it than people live."""
    time_ms = info.data.get("time")
    if time_ms is not None:
        latest = date_of_day(day_of(time_ms)).isoformat()
        earliest = f"{int(latest[:4]) - _OLDEST_YEARS}{latest[4:]}"
        if not earliest < text <= latest:
            raise PydanticCustomError("date_range", "no birth date: after the event, or 125 years or more before it")
    return text


class Consents(BaseModel):
    """All channels on which the client agreed to be contacted. A channel left out, or null, is not agreed to."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    app_push: bool | None = False
    sms: bool | None = False
    email: bool | None = False
    phone: bool | None = False
    wechat: bool | None = False


class Profile(Event):
    """What changed in what is known of a client. An absent field says nothing: what was known stays; null says that it
    is unknown now.

    `consents` is about contacts of every purpose, `marketing_consents` and the other two about those of one. Each is
    whole where it is given: a channel left out is not agreed to, and null agrees to none; where it is absent nothing is
    said. Of a channel and purpose the latest word counts; of one moment the one for the purpose.

    While language and time zone are not known, zh-CN and Asia/Shanghai stand for them; languages are written zh-CN,
    zh_CN, zh-Hans-CN or en, time zones as IANA does.
    """

    unsaid: ClassVar[frozenset[str]] = frozenset({"type"})  # a client's tier hangs on it

    type: ClientType | None = None
    age_band: AgeBand | None = None
    region: Region | None = None
    risk_level: RiskLevel | None = None
    consents: Consents | None = Field(default=None, description="For every purpose.")
    marketing_consents: Consents | None = Field(default=None, description="For offers, news and invitations.")
    service_consents: Consents | None = Field(default=None, description="For what concerns the client's own account.")
    risk_consents: Consents | None = Field(default=None, description="For warnings: margin, falls, security.")
    consent_source: Identifier | None = Field(
        default=None, description="Where the consents of this profile come from, such as app or branch."
    )
    language: Language | None = None
    time_zone: TimeZone | None = None
    advisor_id: Identifier | None = None
    birth_date: Annotated[Date, AfterValidator(_possible_birth)] | None = Field(
        default=None, description="Unknown if it lies after the event, or 125 years or more before it."
    )


OverrideKind = Literal["tier", "snooze", "do_not_contact", "note"]
MAX_REASON: Final = 200  # characters


def _complete(ended: bool, info: ValidationInfo) -> bool:
    """The last field: what the kind asks for is there."""
    said, kind = info.data, info.data.get("kind")
    if ended and kind == "note":
        raise PydanticCustomError("literal_error", "a note has no end")
    if kind == "tier" and not ended and said.get("tier") is None:
        raise PydanticCustomError("incomplete", "a tier override without its tier")
    if kind in ("tier", "snooze") and not ended and said.get("until") is None:
        raise PydanticCustomError("incomplete", "without `until`: only do_not_contact may be for good")
    time_ms, until_ms = max(said.get("time", 0), said.get("starts_at") or 0), said.get("until")
    if until_ms is not None and until_ms <= time_ms and not ended:
        raise PydanticCustomError("contradiction", "until is not later than its beginning")
    return ended


class Override(Event):
    """What staff decided of a client, with who and why: it holds from `time`, or `starts_at`, until it ends.

    Of each kind, and of a snooze of each rule, the latest by `time` holds, in whatever order records arrive. `ended`
    withdraws it before its time.
    """

    # One of which a field cannot be read might say more than was meant, or last longer
    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("kind", "by", "tier", "rule_id", "starts_at", "until", "ended")
    }

    kind: OverrideKind = Field(
        description="tier: the client has `tier` until then. snooze: `rule_id`, or without it all that goes to the "
        "client, rests until then. do_not_contact: nothing goes to the client. note: `reason` is the note."
    )
    by: Identifier = Field(description="Who of the staff.")
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)] | None = Field(
        default=None, description="Why, for whoever looks at the client; kept with the client."
    )
    tier: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Of kind tier: one of the tiers of tiers.yaml."
    )
    rule_id: Identifier | None = Field(default=None, description="Of kind snooze: the rule; without it, all rules.")
    starts_at: TimeMs | None = Field(default=None, description="From when it holds, if later than `time`.")
    until: TimeMs | None = Field(default=None, description="Until when. Only do_not_contact may be without: for good.")
    ended: Annotated[bool, AfterValidator(_complete), Field(validate_default=True)] = Field(
        default=False, description="It is withdrawn, as of `time`."
    )
