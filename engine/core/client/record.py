"""A client's record as other systems read it: the public fields beside the packed state.

Enters: a ClientState. Leaves: its public fields by name.
Holds: every field is always written, empty when unknown, so that writing a record twice, or over an older one, is
harmless.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import msgspec

from engine.core.client.items import ENDED, JOURNEY, STANDS
from engine.core.client.state import ClientState
from engine.core.contract.message import cny, rfc3339_seconds

PUBLIC_FIELDS: Final = (
    "tier", "tier_since", "client_type", "segment", "value_score", "advisor", "assets_cny", "updated_at",
)  # fmt: skip
PORTRAIT_FIELDS: Final = ("stage", "stage_since", "portrait")  # of clients whom rules have portrayed
STAGE: Final = "stage:"  # what begins the label of those who are counted
UNKNOWN: Final = "unknown:"
LED: Final = "journey:"  # and then the journey's id, a colon and the step


_json: Final = msgspec.json.Encoder(order="sorted").encode
_of: Final = attrgetter(
    *("tier", "tier_since_ms", "type", "segment", "value_score", "advisor_id", "assets_fen"),
    *("stage", "stage_since_ms", "portrait"),
)


def tallied_by(client: ClientState) -> tuple[str, ...]:
    """The labels under which a partition counts it: its tier, its stage of life, the features that corrections left
    unknown, where it stands in journeys. A tier has no colon.
    """
    labels = [client.tier] if client.tier else []
    if client.stage:
        labels.append(STAGE + client.stage)
    if client.unknown_until:
        labels += [UNKNOWN + name for name in client.unknown_until]
    if client.journeys:
        labels += [f"{LED}{entry[JOURNEY]}:{entry[STANDS]}" for entry in client.journeys if not entry[ENDED]]
    return tuple(labels)


def told_by(label: str) -> tuple[str, ...]:
    """What a label of `tallied_by` is about: tier, stage, unknown or journey; and its name or names."""
    what, *named = label.split(":")
    return (what, *named) if named else ("tier", what)


def of_unknown(label: str) -> str:
    """The feature that it is about, or nothing."""
    return label.removeprefix(UNKNOWN) if label.startswith(UNKNOWN) else ""


def listed_by(client: ClientState) -> tuple[str, ...]:
    """The values by which other systems list clients: tier, segment, advisor, stage."""
    return client.tier or "", client.segment or "", client.advisor_id or "", client.stage or ""


def public_fields(client: ClientState) -> dict[str, str]:
    """All PUBLIC_FIELDS; of those whom rules have portrayed PORTRAIT_FIELDS, too. Times are RFC 3339 in UTC to the
    second, money is an exact decimal in CNY.
    """
    values = _of(client)
    if client.public is None or client.public[0] != values:  # most events change the last field alone
        tier, tier_since_ms, client_type, segment, score, advisor_id, assets_fen, *portrayed = values
        client.public = (
            values,
            {
                "tier": tier or "",
                "tier_since": rfc3339_seconds(tier_since_ms // 1000) if tier_since_ms is not None else "",
                "client_type": client_type or "",
                "segment": segment or "",
                "value_score": "" if score is None else f"{score:.6g}",
                "advisor": advisor_id or "",
                "assets_cny": "" if assets_fen is None else cny(assets_fen),
            },
        )
        stage, stage_since_ms, portrait = portrayed
        if portrait is not None:
            client.public[1].update(
                stage=stage or "",
                stage_since=rfc3339_seconds(stage_since_ms // 1000) if stage_since_ms is not None else "",
                portrait=_json(portrait).decode(),
            )
    return {**client.public[1], "updated_at": rfc3339_seconds(client.now_ms // 1000)}
