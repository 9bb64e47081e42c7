"""A client's record as other systems read it: the public fields beside the packed state.

Enters: a ClientState. Leaves: field names and texts, in a fixed order.
Holds: every field is always written, empty when unknown, so that writing a record twice, or over an older one, is
harmless.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from engine.core.client.state import ClientState
from engine.core.contract.message import cny, rfc3339

PUBLIC_FIELDS: Final = (
    "tier", "tier_since", "client_type", "segment", "value_score", "advisor", "assets_cny", "updated_at",
)  # fmt: skip
PACKED_FIELD: Final = "state"


@lru_cache(maxsize=16_384)
def _seconds(moment_s: int) -> str:
    return rfc3339(moment_s * 1000).replace(".000Z", "Z")


def public_fields(client: ClientState) -> list[str]:
    """Texts in the order of PUBLIC_FIELDS. Times are RFC 3339 in UTC to the second, money is an exact decimal in
    CNY.
    """
    score = client.value_score
    return [
        client.tier or "",
        _seconds(client.tier_since_ms // 1000) if client.tier_since_ms is not None else "",
        client.type or "",
        client.segment or "",
        "" if score is None else f"{score:.6g}",
        client.advisor_id or "",
        "" if client.assets_fen is None else cny(client.assets_fen),
        _seconds(client.now_ms // 1000),
    ]
