"""What the firm decides itself: the models of the topics `overrides`, of clients, and `advisors`, of who has them.

Enters: nothing. Leaves: the models. Holds: a field that cannot be read refuses the record, but for the reason.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from engine.core.contract.events import Event, Identifier, TimeMs
from engine.core.contract.fields import Date

OverrideKind = Literal["tier", "snooze", "do_not_contact", "note"]
MAX_REASON: Final = 200  # characters
MAX_CAPACITY: Final = 100_000  # of an advisor


def _complete(ended: bool, info: ValidationInfo) -> bool:
    """The last field: what the kind asks for is there."""
    said, kind = info.data, info.data.get("kind")
    if ended and kind == "note":
        raise PydanticCustomError("literal_error", "a note has no end")
    if kind == "tier" and not ended and said.get("tier") is None:
        raise PydanticCustomError("nothing_said", "a tier override without its tier")
    if kind in ("tier", "snooze") and not ended and said.get("until") is None:
        raise PydanticCustomError("nothing_said", "without `until`: only do_not_contact may be for good")
    time_ms, until_ms = max(said.get("time", 0), said.get("starts_at") or 0), said.get("until")
    if until_ms is not None and until_ms <= time_ms and not ended:
        raise PydanticCustomError("time_range", "until is not later than its beginning")
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


class AdvisorChange(Event):
    """What has changed about an advisor. The record's key is `pool`, the advisor's in advisors.yaml."""

    essential: ClassVar[frozenset[str]] = Event.essential | {
        *("advisor_id", "present", "leave_from", "leave_until", "stand_in", "last_day", "capacity")
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
